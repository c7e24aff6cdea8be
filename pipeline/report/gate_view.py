"""The outcome of `pipeline gate` as people read it in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.inspect.printable import printable
from pipeline.regression.result import GateResult
from pipeline.regression.table import Cell, columns_of, sentences, table_of

_STYLES = {"PASS": "green", "FAIL": "bold red", "REFUSED": "yellow"}
_LINE = 1_000
"""Characters of a line; reasons come out of files."""


def print_gate(result: GateResult, console: Console) -> None:
    """The table of stages, then what is worse, what was not compared, what else changed, and the
    outcome. Nothing in a report's own texts is taken for markup."""
    if result.rows:
        console.print(_table(result))
        console.print("drops in points, against the float export; in brackets the baseline")
    for line in sentences(result, "FAIL"):
        _line(console, f"worse: {line}", "bold red")
    for difference in result.refused:
        _line(console, f"unlike: {difference}", "yellow")
    for line in sentences(result, "SKIPPED"):
        _line(console, f"not compared: {line}", "dim")
    for difference in result.notes:
        _line(console, f"changed: {difference}", "dim")
    _line(console, f"{result.headline}  ({result.baseline})", _STYLES[result.verdict])


def _table(result: GateResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    for _, name in columns_of(result):
        table.add_column(name, justify="right", no_wrap=True)
    for stage, cells in table_of(result):
        table.add_row(Text(printable(stage)), *map(_cell, cells))
    return table


def _cell(cell: Cell) -> Text:
    style = {"FAIL": "bold red", "SKIPPED": "dim", "PASS": ""}[cell.verdict]
    before = f" ({cell.before})" if cell.before and cell.before != cell.now else ""
    # Without colours, too, it has to be seen which number is meant.
    sign = "! " if cell.verdict == "FAIL" else ""
    return Text(f"{sign}{cell.now}{before}", style=style)


def _line(console: Console, text: str, style: str) -> None:
    console.print(Text(printable(text, _LINE), style=style), soft_wrap=True)
