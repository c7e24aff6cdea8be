"""Two runs side by side: in a terminal of 80 columns, and as a page that needs nothing but itself."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.artifact import write_text
from pipeline.inspect.printable import printable
from pipeline.report.compare_runs import Comparison
from pipeline.report.compare_table import CHANCE, Block, Line, blocks_of
from pipeline.report.run_differences import Difference
from pipeline.system_errors import system_errors_explained

_LINE = 1_000
"""Characters of a line; names come out of files."""
DROPS = (
    f"Changes are of B against A, of top-1, drop and agreement in points; {CHANCE} is what the images "
    "leave open of the change of top-1. Drops are against each run's own float "
    "export, agreement and SQNR (signal to quantization noise of the logits) against its stage before."
)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Warnings first, then the stages, then everything in which the runs differ. Nothing in a
    report's own texts is taken for markup."""
    for letter, run in (("A", comparison.a), ("B", comparison.b)):
        _say(console, f"{letter}  {run.name}: {run.headline}  ({run.path})", "bold")
        if run.failure is not None:
            _say(console, f"   failed: {run.failure.splitlines()[0]}", "red")
    for warning in comparison.warnings:
        _say(console, f"! {warning}", "bold yellow")
    if comparison.summary:
        _say(console, comparison.summary, "")
    console.print()
    console.print(_table(blocks_of(comparison)))
    _say(console, DROPS, "dim")
    for title, differences in sections_of(comparison):
        _print_differences(title, differences, console)


def sections_of(comparison: Comparison) -> list[tuple[str, tuple[Difference, ...]]]:
    """What differs, by what it is of."""
    return [
        ("recipe", comparison.recipe),
        ("data", comparison.data),
        ("environment", comparison.environment),
    ]


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the comparison as HTML. Raises StageError where that cannot be written."""
    from pipeline.report.rendering import render

    text = render(
        "compare.html.j2",
        comparison=comparison,
        blocks=blocks_of(comparison),
        sections=sections_of(comparison),
        drops=DROPS,
    )
    with system_errors_explained(f"writing {path}", path.parent):
        write_text(path, text)


def _table(blocks: list[Block]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True, max_width=12)
    table.add_column("", style="dim", no_wrap=True)
    for name in ("A", "B", "change"):
        table.add_column(name, justify="right")
    for block in blocks:
        for number, line in enumerate(block.lines):
            table.add_row(_heading(block, number), line.quantity, *_cells(line))
        table.add_row()
    return table


def _heading(block: Block, number: int) -> Text:
    if number == 0:
        return Text(printable(block.stage), style="bold")
    return Text(block.remark if number == 1 else "", style="dim")


def _cells(line: Line) -> list[Text]:
    sign = "! " if line.alarm else ""  # without colours, too
    return [
        Text(printable(line.a)),
        Text(printable(line.b)),
        Text(f"{sign}{line.change}", style="bold yellow" if line.alarm else ""),
    ]


def _print_differences(title: str, differences: tuple[Difference, ...], console: Console) -> None:
    if not differences:
        return
    _say(console, f"\n{title} differs", "bold")
    for difference in differences:
        _say(console, f"  {difference.what}: {difference.a} | {difference.b}", "")


def _say(console: Console, text: str, style: str) -> None:
    lead = "\n" if text.startswith("\n") else ""
    console.print(Text(lead + printable(text.lstrip("\n"), _LINE), style=style), soft_wrap=True)
