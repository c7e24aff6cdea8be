"""`pipeline subset`: draw a stratified set of images."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ARTIFACTS, ArtifactsFolder, DataFolder, LabelSource


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
