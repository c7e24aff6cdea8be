"""The commands and their options; `entry.py` runs them and turns errors into exit codes.

Heavy libraries are imported where they are used, so that `--help` and errors come at once.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import __version__
from pipeline.card_command import card
from pipeline.compare_command import compare

app = typer.Typer(
    name="pipeline",
    help="From an image classifier's weights to a .synap file, its accuracy checked at every stage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class EngineName(StrEnum):
    """Where images are evaluated."""

    local = "local"
    dask = "dask"


Config = Annotated[Path, typer.Argument(help="The recipe, for example configs/inception_v4.yaml.")]
TargetName = Annotated[str, typer.Option("--target", help="sl1680, sl1640 or all.")]
Until = Annotated[str | None, typer.Option(help="Stop after this stage.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value of the recipe: quantize.scheme=…; repeatable."),
]
WeightsFile = Annotated[Path | None, typer.Option(help="The model's file, for any source.")]
DataFolder = Annotated[Path | None, typer.Option(help="The folder of images.")]
ArtifactsFolder = Annotated[Path, typer.Option(help="Where results and the store are kept.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with; 0: all cores.", min=0)]
EngineOption = Annotated[
    EngineName, typer.Option(help="Evaluate images here, or on a Dask cluster.")
]
Scheduler = Annotated[str, typer.Option(help="Address of the Dask scheduler: tcp://host:8786.")]
Workers = Annotated[int, typer.Option(help="Processes here that images are evaluated with.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ARTIFACTS = Path("artifacts")


class LabelSource(StrEnum):
    """Whose labels a subset is drawn by."""

    dataset = "dataset"
    real = "real"


class ViewName(StrEnum):
    """Who prepares a picture for the model."""

    model = "model"
    device = "device"


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit()


@app.command()
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
    """Convert: carry out the stages of a recipe, check each, and write the .synap files."""
    from pipeline import command
    from pipeline.shards import Engine

    where = Engine(engine.value, scheduler, workers)
    job = command.make_job(
        config, target, until, set or (), weights, data, artifacts, threads, where
    )
    raise typer.Exit(command.run(job, strict=strict, as_json=as_json))


@app.command()
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
    """Say for every stage whether it would run, and why; compute nothing."""
    from pipeline import command

    job = command.make_job(config, target, until, set or (), weights, data, artifacts, 0)
    rows = command.plan(job)
    if as_json:
        typer.echo(json.dumps([{"stage": name, "state": state} for name, state in rows], indent=1))
        return
    width = max(len(name) for name, _ in rows)
    for name, state in rows:
        typer.echo(f"{name:<{width}}  {state}")


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .onnx, .tflite or .synap file.")],
    data: Annotated[Path, typer.Option(help="The folder of images.")],
    config: Annotated[
        Path | None, typer.Option(help="A recipe whose data.preprocess the file needs.")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="imagenet, imagenetv2, imagenette, folder, npy or digits.")
    ] = "imagenet",
    images: Annotated[int, typer.Option(help="At most this many; 0: all.", min=0)] = 0,
    label_offset: Annotated[
        int | None,
        typer.Option(
            help="Outputs before the first class: 1 where there is a background class.", min=0
        ),
    ] = None,
    preprocess: Annotated[
        ViewName,
        typer.Option(help="Who prepares the pictures: the model's own way, or the device's."),
    ] = ViewName.model,
    artifacts: ArtifactsFolder = ARTIFACTS,
    threads: Threads = 0,
    engine: EngineOption = EngineName.local,
    scheduler: Scheduler = "",
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Measure the accuracy of a model file on labelled images."""
    from pipeline.evaluate_file import evaluate as measure
    from pipeline.shards import Engine

    check = measure(
        file, data, config, images, artifacts, threads, label_offset, preprocess.value, dataset,
        Engine(engine.value, scheduler, workers),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(check, indent=1))
        return
    typer.echo(f"{file}: top-1 {100 * check['top1']:.2f} %, top-5 {100 * check['top5']:.2f} %")
    typer.echo(f"{check['images']} images, {check['evidence']}")
    if "model_view" in check:
        typer.echo(
            f"as the device prepares them; in the model's own way top-1 is "
            f"{100 * check['model_view']['top1']:.2f} %, a gap of {100 * check['gap']:.2f} points"
        )


@app.command()
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
    """Find the layers that cost most, and propose which to give int16."""
    from pipeline import command
    from pipeline.report.terminal import print_sensitivity

    job = command.make_job(config, "all", "quantize", set or (), weights, data, artifacts, threads)
    result = command.sensitivity(job, images, max_drop)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_sensitivity(result)


@app.command()
def subset(
    dataset: Annotated[
        str, typer.Option(help="imagenet, imagenetv2, imagenette, folder, npy or digits.")
    ],
    output: Annotated[Path, typer.Option(help="The manifest to write; an old one is replaced.")],
    images: Annotated[int, typer.Option(help="How many.", min=1)],
    seed: Annotated[int, typer.Option(help="Another seed, other images.")] = 0,
    data: DataFolder = None,
    labels: Annotated[
        LabelSource,
        typer.Option(
            help="real: ImageNet's validation images by single ReaL label; needs no images."
        ),
    ] = LabelSource.dataset,
    artifacts: ArtifactsFolder = ARTIFACTS,
) -> None:
    """Draw a stratified subset of a dataset and write its manifest."""
    from pipeline import command

    typer.echo(command.subset(dataset, output, images, seed, data, labels.value, artifacts))


@app.command()
def inspect(
    file: Annotated[
        Path, typer.Argument(help="A .synap, .onnx or .tflite file, or a metafile (.yaml).")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what is in a model file or metafile, without running it; 1 where a metafile breaks a rule."""
    from rich.console import Console

    from pipeline.inspect import inspect_file
    from pipeline.report.inspection_view import print_inspection

    inspection = inspect_file(file)
    if as_json:
        typer.echo(json.dumps(inspection.to_json(), indent=1))
    else:
        width = None if sys.stdout.isatty() else 80
        print_inspection(inspection, Console(width=width, highlight=False))
    raise typer.Exit(1 if inspection.contents.violations else 0)


@app.command()
def gate(
    report: Annotated[Path, typer.Argument(help="The report.json of a run.")],
    baseline: Annotated[
        Path | None,
        typer.Option(help="What to compare with. Default: configs/baselines/<recipe>.json."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Make this run the baseline of its target.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary to this file.")] = None,
    max_top1_loss: Annotated[
        float, typer.Option(help="Top-1 that a model may lose, a fraction of the images.")
    ] = 0.005,
    max_drop_rise: Annotated[
        float, typer.Option(help="How much the drop may grow, a fraction of the images.")
    ] = 0.005,
    max_size_ratio: Annotated[
        float, typer.Option(help="How many times its size a file may have.")
    ] = 1.1,
    max_time_ratio: Annotated[
        float, typer.Option(help="How many times as long a stage may take.")
    ] = 2.0,
    max_latency_ratio: Annotated[
        float, typer.Option(help="How many times as long an image may take on a board.")
    ] = 1.1,
    any_cpu: Annotated[
        bool, typer.Option("--any-cpu", help="Compare integer models across kinds of CPU.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a run with the committed baseline: 0 nothing worse, 1 worse, 2 not comparable."""
    from rich.console import Console

    from pipeline.regression.gate import run_gate
    from pipeline.regression.result import Limits
    from pipeline.report.gate_view import print_gate

    result = run_gate(
        report,
        baseline,
        accept_it=accept,
        limits=Limits(
            max_top1_loss, max_drop_rise, max_size_ratio, max_time_ratio, max_latency_ratio
        ),
        any_cpu=any_cpu,
        junit=junit,
        markdown=markdown,
    )
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        width = None if sys.stdout.isatty() else 100
        print_gate(result, Console(width=width, highlight=False))
    raise typer.Exit(result.exit_code)


app.command()(card)
app.command()(compare)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from pipeline.recipe import Recipe

    typer.echo(json.dumps(_with_title(Recipe.model_json_schema()), indent=1))


def _with_title(data: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **data}
