"""`pipeline sensitivity`: which layers cost most."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import (
    ARTIFACTS,
    ArtifactsFolder,
    AsJson,
    Config,
    DataFolder,
    Overrides,
    Threads,
    WeightsFile,
)


def sensitivity(
    config: Config,
    images: Annotated[
        int, typer.Option(metavar="n", help="Selection images to measure on.", min=1)
    ] = 8,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="fraction",
            help="Propose the costliest layers as int16, until at most this part of the predictions "
            "on these images changes. Default: none.",
            min=0.0,
            max=0.2,
        ),
    ] = None,
    set: Overrides = None,
    weights: WeightsFile = None,
    data: DataFolder = None,
    artifacts: ArtifactsFolder = ARTIFACTS,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Find the layers that cost most, and propose int16 for them.

    \b
    pipeline sensitivity configs/inception_v4_digits.yaml
    pipeline sensitivity my.yaml --data photos --max-drop 0.005
    """
    from pipeline import command
    from pipeline.errors import UsageError
    from pipeline.job import make_job
    from pipeline.report.sensitivity_view import print_sensitivity

    _require_measurable(config, set or (), max_drop)
    job = make_job(config, "all", "quantize", set or (), weights, data, artifacts, threads)
    if job.recipe.recipe.data.selection is None:  # said before the stages are made
        raise UsageError(
            "sensitivity is measured on selection images, and the recipe has none",
            where=str(config),
            hint="add to its data: selection: {dataset: …, images: 32}",
        )
    result = command.sensitivity(job, images, max_drop)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_sensitivity(result)
        if max_drop is None:
            typer.echo("add --max-drop 0.005 to have int16 layers proposed")


def _require_measurable(config: Path, overrides: Sequence[str], max_drop: float | None) -> None:
    from pipeline.errors import UsageError
    from pipeline.recipe_file import load_recipe

    recipe = load_recipe(config, overrides).recipe
    if recipe.model.comes_quantized:
        raise UsageError(
            "this model came as integers: there is no float model to compare its layers with",
            where=str(config),
            hint="give the float model that it was made from",
        )
    if max_drop is not None and recipe.quantize.data_type == "int16":
        raise UsageError(
            "--max-drop proposes layers as int16, and quantize.data_type is int16 for all of them",
            where=str(config),
            hint="leave --max-drop out; the costs alone are measured then",
        )
