"""`pipeline subset`: draw a stratified set of images."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import ARTIFACTS, ArtifactsFolder, LabelSource


def subset(
    dataset: Annotated[
        str,
        typer.Option(
            metavar="name", help="imagenet, imagenetv2, imagenette, folder, npy or digits."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            metavar="file", dir_okay=False, help="The manifest to write; an old one is replaced."
        ),
    ],
    images: Annotated[int, typer.Option(metavar="n", help="How many.", min=1)],
    seed: Annotated[int, typer.Option(metavar="n", help="Another seed, other images.")] = 0,
    data: Annotated[
        Path | None, typer.Option(metavar="folder", help="The dataset's images, if not downloaded.")
    ] = None,
    labels: Annotated[
        LabelSource,
        typer.Option(
            help="real: ImageNet's validation images by single ReaL label; needs no images."
        ),
    ] = LabelSource.dataset,
    artifacts: ArtifactsFolder = ARTIFACTS,
) -> None:
    """Draw a stratified subset of a dataset and write its manifest.

    \b
    pipeline subset --dataset imagenet --data val --images 1000 --output a.txt
    pipeline subset --dataset imagenet --labels real --images 1000 --output a.txt
    """
    from pipeline import command

    typer.echo(command.subset(dataset, output, images, seed, data, labels.value, artifacts))
