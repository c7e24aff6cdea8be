"""The command line; `entry.py` runs it and turns errors into exit codes.

Heavy libraries are imported where they are used, so that `--help` and errors come at once.
"""

from typing import Annotated

import typer

from pipeline import __version__
from pipeline.commands.card import card
from pipeline.commands.compare import compare
from pipeline.commands.evaluate import evaluate
from pipeline.commands.gate import gate
from pipeline.commands.init import init
from pipeline.commands.inspect import inspect
from pipeline.commands.plan import plan
from pipeline.commands.run import run
from pipeline.commands.schema import schema
from pipeline.commands.sensitivity import sensitivity
from pipeline.commands.subset import subset

app = typer.Typer(
    name="pipeline",
    help="From an image classifier's weights to a .synap file, its accuracy checked at every stage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMANDS = (
    init, run, plan, evaluate, sensitivity, inspect, subset, gate, card, compare, schema
)  # fmt: skip
"""In the order that `--help` lists them. A new command is one file and one word here."""

for command in COMMANDS:
    app.command()(command)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit()
