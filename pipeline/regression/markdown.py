"""A summary in GitHub's Markdown, for pull requests and step summaries."""

import html
import re

from pipeline.regression.result import GateResult
from pipeline.regression.table import Cell, columns_of, sentences, table_of

_SIGNS = {"PASS": "✅", "FAIL": "❌", "REFUSED": "⚠️"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~$!])")
_REFERENCE = re.compile(r"([@#])(?=\w)")


def markdown_text(result: GateResult) -> str:
    """The text. Whatever a report contains is shown as it is: no markup, no mention."""
    lines = [f"### {_SIGNS[result.verdict]} {_plain(result.headline)}", ""]
    if result.refused:
        lines += ["Report and baseline are not alike, so nothing was compared:", ""]
        lines += [*_list(list(map(str, result.refused))), ""]
    else:
        lines += [*_table(result), ""]
    if failures := sentences(result, "FAIL"):
        lines += ["**Regressions**", "", *_list(failures), ""]
    rest = [f"not compared: {line}" for line in sentences(result, "SKIPPED")]
    rest += [f"changed: {note}" for note in result.notes]
    if rest:
        count = f"{len(rest)} remark{'' if len(rest) == 1 else 's'}"
        lines += [f"<details><summary>{count}</summary>", "", *_list(rest), "", "</details>", ""]
    lines.append(f"Drops in points, against the float export. Baseline: {_plain(result.baseline)}")
    return "\n".join(lines) + "\n"


def _table(result: GateResult) -> list[str]:
    headings = ["stage", *(name for _, name in columns_of(result))]
    lines = [f"| {' | '.join(headings)} |", f"| --- |{' ---: |' * (len(headings) - 1)}"]
    for stage, cells in table_of(result):
        lines.append(f"| {_plain(stage)} | {' | '.join(map(_cell, cells))} |")
    return lines


def _cell(cell: Cell) -> str:
    now = _plain(cell.now)
    shown = f"❌ **{now}**" if cell.verdict == "FAIL" else now
    if not cell.before or cell.before == cell.now:
        return shown
    return f"{shown} (was {_plain(cell.before)})"


def _list(lines: list[str]) -> list[str]:
    return [f"- {_plain(line)}" for line in lines]


def _plain(text: str) -> str:
    """The text on one line, with everything escaped that means something in Markdown or HTML."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    escaped = _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))
    # GitHub looks for `@name` and `#1` in what was rendered, where an escaped one looks the same;
    # an empty comment parts the two.
    return _REFERENCE.sub(r"\1<!-- -->", escaped)
