"""What a run looks like in a terminal: bars while it works, a table at the end."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.check.result import Check
from pipeline.engine import StageResult, TargetResult
from pipeline.inspect.printable import printable_lines
from pipeline.progress import Bar
from pipeline.quantities import confidence, percent, points, seconds, size
from pipeline.report.bars import Bars
from pipeline.report.json_report import overall

_PLAIN: Any = {"highlight": False, "markup": False, "emoji": False}
"""Reasons and paths are shown as they are, whatever brackets and colons they have."""
_STYLES = {"PASS": "green", "FAIL": "bold red", "UNDECIDED": "yellow", "SKIPPED": "magenta"}


class Terminal:
    """The `Progress` of the command line. Everything goes to stderr; stdout is for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, **_PLAIN)
        self._bars = Bars(self.console)

    def bar(self, text: str, total: float) -> AbstractContextManager[Bar]:
        return self._bars.bar(text, total)

    def note(self, text: str) -> None:
        # It may name files, and their names may hold escape sequences.
        shown = printable_lines(text, len(text))
        self.console.print(Text(shown, style="dim"), soft_wrap=True)


def print_results(
    results: Sequence[TargetResult],
    bundles: Sequence[tuple[Path, str]],
    pages: Sequence[Path],
    fallback: str,
    *,
    computed: bool,
) -> None:
    """The closing table, the reasons of the verdicts, and the files that were made; `computed` says
    whether anything at all was not found in the store."""
    console = Console(width=None if sys.stdout.isatty() else 100, **_PLAIN)
    rows = _rows(results)
    # One space between columns and no unit beside each SQNR: else 80 columns do not suffice.
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
            _narrow(check.top1),
            _drop(check.top1_drop),
            _drop(check.step_drop),
            _narrow(check.agreement),
            "-" if check.sqnr_db is None else f"{check.sqnr_db:.1f}",
            _verdict(check) if stage.artifact else Text("SKIPPED", style=_STYLES["SKIPPED"]),
            size(stage.artifact.size) if stage.artifact else "-",
            ("stored" if stage.cached else seconds(stage.seconds)) if stage.artifact else "-",
        )
    # A terminal that is narrower still breaks lines itself; rich would cut numbers off.
    unbound = console.options.update(max_width=200)
    console.width = max(console.width, console.measure(table, options=unbound).minimum)
    console.print(table)
    for line in _legend(rows):
        console.print(line, soft_wrap=True)
    for name, stage in rows:
        check = stage.check
        if check.required or stage.artifact is None:
            console.print(f"{name}: {check.verdict}: {check.reason}", soft_wrap=True)
        elif check.published is not None:
            console.print(
                f"{name}: published figure: {check.published}: {check.reason}", soft_wrap=True
            )
    for name, stage in rows:
        for caution in stage.details.get("cautions", ()):
            console.print(Text(f"{name}: {caution}", style="bold yellow"), soft_wrap=True)
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
        remarks = "; ".join(filter(None, (_shortcoming(path, results), notice)))
        console.print(f"{path}  ({remarks})" if remarks else str(path), soft_wrap=True)
    for page in pages:
        console.print(str(page), soft_wrap=True)
    if not computed:
        console.print("Nothing was computed: everything was in the store.")


def _legend(rows: Sequence[tuple[str, StageResult]]) -> list[str]:
    """What the columns are, but not of columns that nothing is in: a model that came as integers
    has no float model to be held against."""
    checks = [stage.check for _, stage in rows]
    stepwise = "step, agree and SQNR against the stage before"
    if any(check.top1_drop is not None for check in checks):
        against = f"drop against the float export; {stepwise}"
    elif any(value is not None for c in checks for value in (c.step_drop, c.agreement, c.sqnr_db)):
        against = stepwise
    else:
        return [_images(rows)]
    return [f"{_images(rows)}; drops in points, SQNR in dB", against]


def _shortcoming(bundle: Path, results: Sequence[TargetResult]) -> str:
    """The verdict of the run that a bundle is from, whose folder has the target's name; nothing
    after PASS."""
    for result in results:
        if result.target is not None and result.target.name == bundle.parent.name:
            verdict = overall(stage.check for stage in result.stages)
            return "" if verdict == "PASS" else verdict
    return ""


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
    word = "lost"
    if lost < 0:
        word, lost, low, high = "gained", -lost, -high, -low
    return (
        f"with pictures as the board's own program prepares them top-1 is {percent(gap['top1'])}: "
        f"{lost:.2f} points {word}, between {low:.2f} and {high:.2f}, each end "
        f"at {confidence(gap['confidence'])} (no part of the verdict)"
    )


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


def _narrow(fraction: float | None) -> str:
    """An accuracy in a column, where there is no room for the blank before the sign."""
    return "-" if fraction is None else percent(fraction).replace(" ", "")


def _drop(fraction: float | None) -> str:
    return "-" if fraction is None else points(fraction)
