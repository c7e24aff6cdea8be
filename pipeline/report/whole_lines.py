"""Output that is read by people on a terminal and by `grep` behind a pipe."""

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUNDED = 100_000
"""Columns; more than any line has."""


def print_whole(show: "Callable[[Console], None]") -> None:
    """Let `show` print to stdout: in the width of a terminal, and elsewhere with every line whole,
    so that no name is broken in two, and without the spaces that fill up a table."""
    from rich.console import Console

    if sys.stdout.isatty():
        show(Console(highlight=False))
        return
    text = io.StringIO()
    show(Console(file=text, width=_UNBOUNDED, highlight=False))
    for line in text.getvalue().split("\n")[:-1]:
        print(line.rstrip())
