"""Hold a card against its artifacts: is every word that the pipeline wrote still theirs?

Three questions. Are the files beside the card those that it was written from? Is the bundle the
one that the report measured, and the example what the model gives? And would the same artifacts
give the same text? A card is a pure function of them, so it is simply written again and compared
line by line. Lines that somebody added are let stand as long as they hold no number.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact import digest_of_path
from pipeline.errors import PipelineError, StageError
from pipeline.inspect.printable import printable
from pipeline.report.card import CARD, card_text, files_of, require_bundle
from pipeline.report.card_example import Example, example_of
from pipeline.report.card_mark import Mark, NoMark, read_mark, without_mark
from pipeline.report.report_read import REPORT, ShownReport, read_shown
from pipeline.system_errors import system_errors_explained

TOLERANCE = 1e-3
"""Of confidences on the same kind of CPU: other numbers of threads may add up in another order."""
LARGEST = 2**20
"""Bytes of a card; one has some five thousand."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHOWN = 160


@dataclass(frozen=True)
class CardCheck:
    """What was found. `faults` are where the card and its artifacts part, `notes` what could not be
    held against anything."""

    card: str
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 where the card holds, else 1."""
        return 1 if self.faults else 0


def check_card(folder: Path, threads: int) -> CardCheck:
    """Hold the card of a results folder against the files in it.

    What is wrong with card or files is a fault, in words. Raises StageError only where there is no
    such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise StageError("there is no such folder", where=str(folder))
    path = folder / CARD
    with system_errors_explained(f"reading {folder}", folder):
        faults, notes = _check(folder, path, threads)
    return CardCheck(str(path), tuple(faults), tuple(notes))


def _check(folder: Path, path: Path, threads: int) -> tuple[list[str], list[str]]:
    if not path.is_file():
        return [f"{CARD} is missing"], []
    if path.stat().st_size > LARGEST:
        return [f"{CARD} is larger than a card can be"], []
    text = path.read_bytes().decode("utf-8", errors="backslashreplace")
    try:
        mark = read_mark(text)
    except NoMark as error:
        return [f"{CARD} {error}; `pipeline card {folder}` writes it again"], []
    faults = list(_files(folder, mark))
    try:
        report = read_shown(folder / REPORT)
        require_bundle(folder, report)
        expected = card_text(folder, report, mark.outcome)
    except PipelineError as error:
        where = f"{error.where}: " if error.where else ""
        return [*faults, f"{where}{error.what}", "so the numbers were not compared"], []
    faults += _lines(without_mark(text).splitlines(), without_mark(expected).splitlines())
    unlike, notes = _example(folder, report, mark, threads)
    return [*faults, *unlike], notes


def _files(folder: Path, mark: Mark) -> Iterator[str]:
    for name in sorted(files_of(folder).keys() - mark.files.keys()):
        yield f"{CARD} does not name the digest of {name}"
    for name, digest in sorted(mark.files.items()):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif (found := digest_of_path(path)) != digest:
            yield (
                f"{name} is another file than the card was written from: its sha256 is "
                f"{found[:12]}…, not {digest[:12]}…"
            )


def _lines(card: list[str], expected: list[str]) -> Iterator[str]:
    """Every line that differs, as a sentence."""
    matcher = difflib.SequenceMatcher(None, expected, card, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        if kind == "equal":
            continue
        wanted, found = expected[start:end], card[first:last]
        both = min(len(wanted), len(found))
        for offset in range(both):
            place = _place(card, first + offset)
            yield f"{place}: {_difference(wanted[offset], found[offset])}"
        for line in filter(str.strip, wanted[both:]):
            yield f"{_place(card, first)}: a line was taken out: {_quoted(line)}"
        for offset, line in enumerate(found[both:], both):
            if _NUMBER.search(line):
                place = _place(card, first + offset)
                yield f"{place}: no artifact gives the line {_quoted(line)}"


def _place(card: list[str], index: int) -> str:
    headings = [line.lstrip("# ") for line in card[: index + 1] if line.startswith("#")]
    section = f" ({printable(headings[-1], 60)})" if headings else ""
    return f"{CARD}, line {index + 1}{section}"


def _difference(wanted: str, found: str) -> str:
    """The numbers alone where only they differ, else both lines."""
    numbers = _NUMBER.findall(wanted), _NUMBER.findall(found)
    if _NUMBER.sub("#", wanted) == _NUMBER.sub("#", found):
        pairs = [(old, new) for old, new in zip(*numbers, strict=True) if old != new]
        said = ", ".join(f"says {new} where its artifacts give {old}" for old, new in pairs)
        return f"{said}, in {_quoted(found)}"
    return f"says {_quoted(found)} where its artifacts give {_quoted(wanted)}"


def _quoted(line: str) -> str:
    return f'"{printable(line.strip(), _SHOWN)}"'


def _example(
    folder: Path, report: ShownReport, mark: Mark, threads: int
) -> tuple[list[str], list[str]]:
    """Faults and notes of the example: the model is run again."""
    try:
        now = example_of(folder, report, threads)
    except PipelineError as error:
        return [f"the example output cannot be computed: {error}"], []
    then = mark.outcome
    if not isinstance(now, Example):
        return [], [f"the example output was not checked: {now.reason}"] if mark.example else []
    if not isinstance(then, Example):
        return [], ["the card has no example output, though there could be one now"]
    for what, old, new in (
        ("model", then.model_sha256, now.model_sha256),
        ("picture", then.picture_sha256, now.picture_sha256),
    ):
        if old != new:
            return [f"the example output is of another {what} than the one here"], []
    here, there = f"{now.runtime} on {now.cpu}", f"{then.runtime} on {then.cpu}"
    if here != there:
        return [], [f"the example output was not checked: it is of {there}, and here is {here}"]
    return list(_confidences(dict(then.top), dict(now.top))), []


def _confidences(then: dict[int, float], now: dict[int, float]) -> Iterator[str]:
    for index in sorted(then.keys() | now.keys()):
        old, new = then.get(index), now.get(index)
        if old is None or new is None:
            has = "is not" if new is None else "is"
            yield f"the example output: class {index} {has} among the first {len(now)} of the model"
        elif abs(old - new) > TOLERANCE:
            yield f"the example output: class {index} has {new}, and the card says {old}"
