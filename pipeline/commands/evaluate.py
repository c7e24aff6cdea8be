"""`pipeline evaluate`: the accuracy of a model file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import (
    ARTIFACTS,
    ArtifactsFolder,
    AsJson,
    EngineName,
    EngineOption,
    Scheduler,
    Threads,
    ViewName,
    Workers,
)


def evaluate(
    file: Annotated[
        Path, typer.Argument(help="A .onnx or .tflite file, or a .synap for the CPU delegate.")
    ],
    data: Annotated[Path, typer.Option(metavar="folder", help="The folder of images.")],
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="recipe",
            help="A recipe: its data.preprocess, where the file declares none, and its label_offset. "
            "Its images are not used: see --dataset.",
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            metavar="name", help="imagenet, imagenetv2, imagenette, folder, npy or digits."
        ),
    ] = "imagenet",
    images: Annotated[int, typer.Option(metavar="n", help="At most this many; 0: all.", min=0)] = 0,
    label_offset: Annotated[
        int | None,
        typer.Option(
            metavar="n",
            help="Outputs before the first class: 1 where there is a background class. "
            "Default: the recipe's; without one, 0 where outputs and classes are as many.",
            min=0,
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
    """Measure the accuracy of a model file on labelled images.

    \b
    pipeline evaluate model.onnx --data imagenet/val --config my.yaml
    pipeline evaluate model.tflite --data photos --dataset folder --json
    pipeline evaluate model.synap --data imagenet/val --preprocess device
    """
    from pipeline.evaluate_file import evaluate as measure
    from pipeline.evaluation.shards import Engine
    from pipeline.quantities import percent

    check = measure(
        file, data, config, images, artifacts, threads, label_offset, preprocess.value, dataset,
        Engine(engine.value, scheduler, workers),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(check, indent=1))
        return
    typer.echo(f"{file}: top-1 {percent(check['top1'])}, top-5 {percent(check['top5'])}")
    typer.echo(f"{check['images']} images, {check['evidence']}")
    if "model_view" in check:
        typer.echo(
            f"as the device prepares them; in the model's own way top-1 is "
            f"{percent(check['model_view']['top1'])}, a gap of {100 * check['gap']:.2f} points"
        )
