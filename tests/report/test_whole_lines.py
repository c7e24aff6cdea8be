"""What stands behind a pipe: whole lines, without filling."""

import pytest
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.report.whole_lines import print_whole

NAME = "a/name/of/a/tensor/" * 20


def test_lines_are_whole_and_end_with_their_last_word(capsys: pytest.CaptureFixture[str]) -> None:
    def show(console: Console) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("tensor", overflow="fold")
        table.add_column("shape")
        table.add_row(NAME, "[1, 2]")
        table.add_row("b", "")
        console.print(Padding(table, (0, 0, 0, 2)))
        console.print(Text(f"\n[bold]{NAME}"))

    print_whole(show)
    gap = " " * (len(NAME) - len("tensor"))
    assert capsys.readouterr().out.splitlines() == [
        f"  tensor{gap}  shape", f"  {NAME}  [1, 2]", "  b", "", f"[bold]{NAME}",
    ]  # fmt: skip
