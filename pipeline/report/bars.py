"""Long work as bars on a terminal, and as a line now and then where nobody watches.

A bar that is opened while another is open is inner work of it, and stands below. All that are open
share one display, because a terminal can redraw only one place.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

QUIET_SECONDS = 5.0
"""Off a terminal, work that takes longer leaves one line behind."""
ALIVE_SECONDS = 60.0
"""Off a terminal, so often is said how far the work is."""
_RATE_SECONDS = 3600.0
"""The time left is told from what was done so lately. Some steps take minutes each, and two of them
are needed."""


def are_watched(console: Console) -> bool:
    """Whether somebody sees bars move: a terminal that can, and no CI, which may have one, too."""
    moves = sys.stderr.isatty() and not console.is_dumb_terminal
    return moves and os.environ.get("CI", "").lower() in ("", "0", "false")


class Bars:
    """The bars that are open, the outer before the inner."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._watched = are_watched(console)
        self._progress: Progress | None = None
        self._ended = threading.Event()

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator["OpenBar"]:
        """Show a bar while the body runs; `total` 0 is one whose length is not known."""
        start = time.monotonic()
        progress = self._progress = self._progress or self._started()
        task = progress.add_task(text, total=total or None)
        try:
            yield OpenBar(progress, task)
        finally:
            progress.remove_task(task)
            if not progress.tasks:
                self._stop(progress)
        seconds = time.monotonic() - start
        if not self._watched and seconds > QUIET_SECONDS:
            self._console.print(f"{text}: {seconds:.0f} s", soft_wrap=True)

    def _started(self) -> Progress:
        progress = Progress(
            # A long name must not take the bar's place: together they have 80 columns.
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, max_width=38),
            ),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=self._console,
            transient=True,
            expand=True,
            disable=not self._watched,
            speed_estimate_period=_RATE_SECONDS,
        )
        if self._watched:
            progress.start()
        else:
            self._ended = threading.Event()
            threading.Thread(target=self._tell, args=(progress, self._ended), daemon=True).start()
        return progress

    def _stop(self, progress: Progress) -> None:
        self._progress = None
        self._ended.set()
        if self._watched:
            progress.stop()

    def _tell(self, progress: Progress, ended: threading.Event) -> None:
        while not ended.wait(ALIVE_SECONDS):
            tasks = progress.tasks
            if tasks:
                text = ", ".join(task.description for task in tasks)
                self._console.print(f"{text}: {_state(tasks[-1])}", soft_wrap=True)


class _TimeLeft(TimeRemainingColumn):
    """`0:01:30 left`, and nothing where the length is not known."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task).append(" left")


class OpenBar:
    """One bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: float = 1.0) -> None:
        """Say that `amount` more of the total is done."""
        self._progress.advance(self._task, amount)


def _state(task: Task) -> str:
    """How far the work is, in words: `42%, about 90 s left`."""
    if task.total is None:
        return f"{task.elapsed or 0:.0f} s so far"
    left = task.time_remaining
    return f"{task.percentage:.0f}%" + ("" if left is None else f", about {left:.0f} s left")
