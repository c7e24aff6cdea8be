"""`pipeline init`: write a recipe for a model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")


def init(
    model: Annotated[
        str,
        typer.Argument(
            help="A model file (.onnx, .tflite, .ckpt, .safetensors, .pth) or a name of timm's."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="file", help="The recipe to write. Default: <model>.yaml, here."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="folder", help="The folder of images, if at hand.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(metavar="name", help="timm's name of a weights file's architecture."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a recipe that exists already.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing; what is not known is guessed and said so.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Ask nothing, and print what was found as JSON.")
    ] = False,
) -> None:
    """Look at a model and write a commented recipe for it.

    \b
    pipeline init model.onnx --data photos
    pipeline init mobilenetv2_100.ra_in1k --out mobilenet.yaml
    pipeline init weights.safetensors --arch resnet50 --yes
    """
    from pipeline.init import init as write_recipe
    from pipeline.init.summary import summary, toolkit_is_here

    silent = yes or as_json or not (sys.stdin.isatty() and sys.stdout.isatty())
    written = write_recipe(
        model, out=out, data=data, arch=arch, force=force, ask=None if silent else _ask
    )
    if as_json:
        data_found = {"recipe": str(written.path), **written.findings.to_json()}
        typer.echo(json.dumps(data_found, indent=1))
        return
    for line in summary(written, toolkit=toolkit_is_here()):
        typer.echo(line)


def _ask(question: str, default: str, parse: Callable[[str], T]) -> T:
    def checked(answer: str) -> T:
        try:
            return parse(answer)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    answer: T = typer.prompt(question, default=default or None, value_proc=checked, err=True)
    return answer
