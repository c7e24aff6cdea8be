"""What a run looks like in a terminal: bars while it works, a table at the end."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pipeline.check.result import Check
from pipeline.engine import StageResult, TargetResult
from pipeline.progress import Bar

QUIET_SECONDS = 5.0
"""Off a terminal, work that takes longer leaves one line behind."""
_PLAIN: Any = {"highlight": False, "markup": False, "emoji": False}
"""Reasons and paths are shown as they are, whatever brackets and colons they have."""
_STYLES = {"PASS": "green", "FAIL": "bold red", "UNDECIDED": "yellow", "SKIPPED": "magenta"}


class Terminal:
    """The `Progress` of the command line. Everything goes to stderr; stdout is for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, **_PLAIN)

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Bar]:
        if not self.console.is_terminal:
            start = time.monotonic()
            yield _Uncounted()
            seconds = time.monotonic() - start
            if seconds > QUIET_SECONDS:
                self.console.print(f"{text}: {seconds:.0f} s")
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield _Counted(progress, progress.add_task(text, total=total))

    def note(self, text: str) -> None:
        self.console.print(Text(text, style="dim"), soft_wrap=True)


class _Uncounted:
    def advance(self, amount: float = 1.0) -> None:
        return


class _Counted:
    def __init__(self, progress: Progress, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: float = 1.0) -> None:
        self._progress.advance(self._task, amount)  # type: ignore[arg-type]


def print_results(
    results: Sequence[TargetResult],
    bundles: Sequence[tuple[Path, str]],
    pages: Sequence[Path],
    fallback: str,
) -> None:
    """The closing table, the reasons of the verdicts, and the files that were made."""
    console = Console(width=None if sys.stdout.isatty() else 100, **_PLAIN)
    rows = _rows(results)
    # One space between columns: with two, 80 do not suffice.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading, justify in (
        ("stage", "left"), ("top-1", "right"), ("drop", "right"), ("step", "right"),
        ("agree", "right"), ("SQNR", "right"), ("verdict", "left"), ("size", "right"),
        ("time", "right"),
    ):  # fmt: skip
        # Only the evidence beside a verdict may go to a line of its own: "PASS (predicted)".
        table.add_column(heading, justify=justify, no_wrap=heading != "verdict")  # type: ignore[arg-type]
    for name, stage in rows:
        check = stage.check
        table.add_row(
            name,
            _percent(check.top1),
            _points(check.top1_drop),
            _points(check.step_drop),
            _percent(check.agreement),
            "-" if check.sqnr_db is None else f"{check.sqnr_db:.1f} dB",
            _verdict(check) if stage.artifact else Text("SKIPPED", style=_STYLES["SKIPPED"]),
            _size(stage.artifact.size) if stage.artifact else "-",
            ("stored" if stage.cached else _seconds(stage.seconds)) if stage.artifact else "-",
        )
    # A terminal that is narrower still breaks lines itself; rich would cut numbers off.
    unbound = console.options.update(max_width=200)
    console.width = max(console.width, console.measure(table, options=unbound).minimum)
    console.print(table)
    console.print(
        f"{_images(rows)}; drops in points, against the float export and the stage before",
        soft_wrap=True,
    )
    for name, stage in rows:
        check = stage.check
        if check.required or stage.artifact is None:
            console.print(f"{name}: {check.verdict}: {check.reason}", soft_wrap=True)
        elif check.published is not None:
            console.print(
                f"{name}: published figure: {check.published}: {check.reason}", soft_wrap=True
            )
    for name, stage in rows:
        gap = stage.details.get("device_view")
        if gap is not None:
            console.print(f"{name}: {_device_view(gap)}", soft_wrap=True)
    if fallback and any(stage.name == "compile" for _, stage in rows):
        console.print(
            Text(f"compile: fell back to the CPU delegate: {fallback}", style="yellow"),
            soft_wrap=True,
        )
    for path, notice in bundles:
        console.print(f"{path}  ({notice})" if notice else str(path), soft_wrap=True)
    for page in pages:
        console.print(str(page), soft_wrap=True)
    if all(stage.cached for _, stage in rows if stage.artifact):
        console.print("Nothing was computed: everything was in the store.")


def _images(rows: Sequence[tuple[str, StageResult]]) -> str:
    """On how many images the stages were evaluated. Where the numbers differ, so do the images that
    top-1 is of."""
    stages: dict[int, list[str]] = {}
    for name, stage in rows:
        if stage.check.images:
            stages.setdefault(stage.check.images, []).append(name)
    if len(stages) <= 1:
        return f"{next(iter(stages), 'no')} evaluation images"
    listed = ", ".join(f"{count} for {', '.join(names)}" for count, names in stages.items())
    return f"evaluation images: {listed}; compare drops there, not top-1"


def _device_view(gap: Mapping[str, Any]) -> str:
    """What the board's way of preparing pictures costs, in a sentence."""
    lost, low, high = (100 * value for value in (gap["gap"], *gap["confidence_interval"]))
    return (
        f"with pictures as the board's own program prepares them top-1 is {_percent(gap['top1'])}: "
        f"{lost:.2f} points lost, between {low:.2f} and {high:.2f} at {gap['confidence']:.0%} "
        "(no part of the verdict)"
    )


def print_sensitivity(result: dict[str, Any], worst: int = 15) -> None:
    """The costliest layers, worst first, and the proposal as a piece of recipe."""
    console = Console(**_PLAIN)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer")
    table.add_column("alone", justify="right")
    table.add_column("up to here", justify="right")
    layers = [row for row in result["layers"] if row["isolated_db"] is not None]
    for row in sorted(layers, key=lambda row: float(row["isolated_db"]))[:worst]:
        cumulative = row["cumulative_db"]
        table.add_row(
            row["layer"],
            f"{row['isolated_db']:.1f} dB",
            "-" if cumulative is None else f"{cumulative:.1f} dB",
        )
    console.print(table)
    console.print(
        f"Signal to noise on {result['images']} images: of the logits with this layer alone "
        "quantized, and of the layer's result with everything quantized. Less is worse.",
        soft_wrap=True,
    )
    proposal = result.get("proposal")
    if proposal is None:
        return
    flips = f"{100 * proposal['flips']:.1f}% of the predictions change"
    if not proposal["reached"]:
        console.print(f"Even with every layer as int16 {flips}.")
    elif not proposal["layers"]:
        console.print(f"No layer has to be wider: {flips}.")
    else:
        console.print(f"With these layers as int16 {flips}:")
        listed = ", ".join(f"{name}: int16" for name in proposal["layers"])
        console.print(f"quantize: {{layers: {{{listed}}}}}", soft_wrap=True)


def _rows(results: Sequence[TargetResult]) -> list[tuple[str, StageResult]]:
    """Shared stages once, then every target's own."""
    rows: list[tuple[str, StageResult]] = []
    for index, result in enumerate(results):
        for stage in result.stages:
            own = stage.name == "compile"
            if own and result.target is not None:
                rows.append((f"{stage.name} {result.target.name}", stage))
            elif index == 0:
                rows.append((stage.name, stage))
    return rows


def _verdict(check: Check) -> Text:
    if not check.required:
        return Text("reported", style="dim")
    suffix = "" if check.evidence == "measured" else f" ({check.evidence})"
    return Text(check.verdict + suffix, style=_STYLES[check.verdict])


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def _points(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:+.2f}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
