"""`pipeline schema`: the JSON Schema of recipes."""

import json
from typing import Annotated, Any

import typer


def schema(
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print the reference of recipes, docs/recipe.md, instead."),
    ] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors.

    \b
    pipeline schema > recipe.schema.json
    """
    if markdown:
        from pipeline.recipe.reference import recipe_reference

        typer.echo(recipe_reference(), nl=False)
        return
    from pipeline.recipe import Recipe

    typer.echo(json.dumps(_with_title(Recipe.model_json_schema()), indent=1))


def _with_title(data: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **data}
