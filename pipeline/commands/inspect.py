"""`pipeline inspect`: what is in a file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import (
    AsJson,
)


def inspect(
    file: Annotated[
        Path, typer.Argument(help="A .synap, .onnx or .tflite file, or a metafile (.yaml).")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what is in a model file or metafile. It is not run.

    Exit code 1: a metafile breaks a rule.

    \b
    pipeline inspect artifacts/inception_v4_digits/sl1680/model.synap
    pipeline inspect model.tflite --json
    """
    from pipeline.inspect import inspect_file
    from pipeline.report.inspection_view import print_inspection
    from pipeline.report.whole_lines import print_whole

    inspection = inspect_file(file)
    if as_json:
        typer.echo(json.dumps(inspection.to_json(), indent=1))
    else:
        print_whole(lambda console: print_inspection(inspection, console))
    raise typer.Exit(1 if inspection.contents.violations else 0)
