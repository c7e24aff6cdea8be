"""docs/recipe.md is made from the schema, and says all of it."""

import re
from pathlib import Path
from typing import Any

from pipeline.recipe import Recipe
from pipeline.recipe.reference import COMMAND, anchor, recipe_reference

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"


def fields(schema: dict[str, Any]) -> set[tuple[str, str]]:
    """Every field of every section, with the section's name."""
    sections = {"Recipe": schema, **schema["$defs"]}
    return {(name, field) for name, part in sections.items() for field in part["properties"]}


def test_the_committed_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == recipe_reference(), (
        f"the schema has changed; make the page again: {COMMAND} > docs/recipe.md"
    )


def test_every_field_of_the_schema_has_one_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \| .* \|$", recipe_reference(), re.MULTILINE)
    assert sorted(rows) == sorted(field for _, field in fields(Recipe.model_json_schema()))


def test_rows_have_four_cells_and_every_link_a_heading() -> None:
    text = recipe_reference()
    headings = {anchor(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert links
    assert set(links) <= headings
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5), line


def test_types_bounds_and_defaults_are_those_of_the_schema() -> None:
    text = recipe_reference()
    assert "| `confidence` | number > 0.5 and < 1 | `0.95` |" in text
    assert "| `images` | integer ≥ 1, `all` or `auto` | `all` |" in text
    assert "| `equalize` | [section](#equalize) or `null` | its defaults |" in text
    assert "| `layers` | names, each with `int16` or `float16` | empty |" in text
    assert "| `host` | text | required |" in text
