"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class EngineName(StrEnum):
    """Where images are evaluated."""

    local = "local"
    dask = "dask"


class LabelSource(StrEnum):
    """Whose labels a subset is drawn by."""

    dataset = "dataset"
    real = "real"


class ViewName(StrEnum):
    """Who prepares a picture for the model."""

    model = "model"
    device = "device"


Config = Annotated[Path, typer.Argument(help="The recipe, for example configs/inception_v4.yaml.")]
TargetName = Annotated[str, typer.Option("--target", metavar="name", help="sl1680, sl1640 or all.")]
Until = Annotated[
    str | None,
    typer.Option(metavar="stage", help="Stop after this stage: weights, export, quantize, …"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="key=value",
        help="Override a value of the recipe: quantize.data_type=int8. Repeatable.",
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(metavar="file", help="The model's file, for any source. Default: the recipe's."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(metavar="folder", help="The folder of images. Default: the recipe's."),
]
ArtifactsFolder = Annotated[
    Path,
    typer.Option(metavar="folder", file_okay=False, help="Where results and the store are kept."),
]
Threads = Annotated[
    int, typer.Option(metavar="n", help="Threads to compute with; 0: all cores.", min=0)
]
EngineOption = Annotated[
    EngineName, typer.Option(help="Evaluate images here, or on a Dask cluster.")
]
Scheduler = Annotated[
    str, typer.Option(metavar="url", help="Address of the Dask scheduler: tcp://host:8786.")
]
Workers = Annotated[
    int, typer.Option(metavar="n", help="Processes here that evaluate images.", min=1)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ARTIFACTS = Path("artifacts")
