"""`pipeline sensitivity`: which layers cost most."""

import json
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
    images: Annotated[int, typer.Option(help="Selection images to measure on.", min=1)] = 8,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Propose the fewest int16 layers that keep the drop within this fraction."
        ),
    ] = None,
    set: Overrides = None,
    weights: WeightsFile = None,
    data: DataFolder = None,
    artifacts: ArtifactsFolder = ARTIFACTS,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Find the layers that cost most, and propose int16 for them."""
    from pipeline import command
    from pipeline.report.terminal import print_sensitivity

    job = command.make_job(config, "all", "quantize", set or (), weights, data, artifacts, threads)
    result = command.sensitivity(job, images, max_drop)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_sensitivity(result)
