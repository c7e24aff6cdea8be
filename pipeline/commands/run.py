"""`pipeline run`: carry out a recipe."""

from typing import Annotated

import typer

from pipeline.commands.options import (
    ARTIFACTS,
    ArtifactsFolder,
    AsJson,
    Config,
    DataFolder,
    EngineName,
    EngineOption,
    Overrides,
    Scheduler,
    TargetName,
    Threads,
    Until,
    WeightsFile,
    Workers,
)


def run(
    config: Config,
    target: TargetName = "all",
    until: Until = None,
    set: Overrides = None,
    weights: WeightsFile = None,
    data: DataFolder = None,
    artifacts: ArtifactsFolder = ARTIFACTS,
    threads: Threads = 0,
    engine: EngineOption = EngineName.local,
    scheduler: Scheduler = "",
    workers: Workers = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="An undecided required check fails the run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert as a recipe says, with a check after every stage.

    The .synap files and the reports are in artifacts/<recipe>/<target>.

    \b
    pipeline run configs/inception_v4_digits.yaml
    pipeline run configs/inception_v4.yaml --target sl1680 --data imagenet/val
    pipeline run my.yaml --until quantize --set quantize.data_type=int8
    """
    from pipeline import command
    from pipeline.evaluation.shards import Engine
    from pipeline.job import make_job

    where = Engine(engine.value, scheduler, workers)
    job = make_job(config, target, until, set or (), weights, data, artifacts, threads, where)
    raise typer.Exit(command.run(job, strict=strict, as_json=as_json))
