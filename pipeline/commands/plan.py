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
    """Say for every stage whether it would run, and why. Nothing is computed."""
    from pipeline import command

    job = command.make_job(config, target, until, set or (), weights, data, artifacts, 0)
    rows = command.plan(job)
    if as_json:
        typer.echo(json.dumps([{"stage": name, "state": state} for name, state in rows], indent=1))
        return
    width = max(len(name) for name, _ in rows)
    for name, state in rows:
        typer.echo(f"{name:<{width}}  {state}")
