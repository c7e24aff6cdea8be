"""`pipeline plan`: what a run would do."""

import json

import typer

from pipeline.commands.options import (
    ARTIFACTS,
    ArtifactsFolder,
    AsJson,
    Config,
    DataFolder,
    Overrides,
    TargetName,
    Until,
    WeightsFile,
)


def plan(
    config: Config,
    target: TargetName = "all",
    until: Until = None,
    set: Overrides = None,
    weights: WeightsFile = None,
    data: DataFolder = None,
    artifacts: ArtifactsFolder = ARTIFACTS,
    as_json: AsJson = False,
) -> None:
    """Say for every stage whether it would run, and why, and what a run would stop for.

    No stage is made. The images are drawn, though: they are read once, and ImageNetV2 and Imagenette
    are downloaded where they are not at hand.

    \b
    pipeline plan configs/inception_v4_digits.yaml
    pipeline plan my.yaml --set quantize.rounding=nearest --json
    """
    from pipeline import command
    from pipeline.job import make_job

    job = make_job(config, target, until, set or (), weights, data, artifacts, 0)
    rows = command.plan(job)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        return
    width = max(len(row.stage) for row in rows)
    for row in rows:
        typer.echo(f"{row.stage:<{width}}  {row}")
    for thing in command.obstacles(job):
        typer.echo(f"a run would stop: {thing.what}\n  {thing.hint}")
