"""A comparison as texts: what terminal and page show of each stage, quantity by quantity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.quantities import confidence, percent, points, seconds, size
from pipeline.report.compare_change import CONFIDENCE
from pipeline.report.compare_runs import Comparison, Numbers, StagePair

NONE = "-"
CHANCE = f"top-1 at {confidence(CONFIDENCE)}"
"""What the line below top-1 is called, which has the interval of its change."""


@dataclass(frozen=True)
class Line:
    """A quantity of both runs, and how B differs. `alarm` marks what is not as in A in a way that
    is no number: a verdict, or an accuracy that cannot be compared."""

    quantity: str
    a: str
    b: str
    change: str
    alarm: bool = False


@dataclass(frozen=True)
class Block:
    """A stage; `remark` says what holds for all of it."""

    stage: str
    remark: str
    lines: tuple[Line, ...]


def blocks_of(comparison: Comparison) -> list[Block]:
    """Every stage with its lines; quantities that neither run has are left out."""
    return [_block(pair) for pair in comparison.stages]


def _block(pair: StagePair) -> Block:
    if pair.a is None or pair.b is None:
        remark = f"only in {'B' if pair.a is None else 'A'}"
    else:
        remark = "same file" if pair.same_file and pair.a.sha256 else ""
    lines = [_line(name, pair, *how) for name, how in _QUANTITIES.items()]
    kept = [line for line in lines if _says_something(line)]
    if pair.change_interval is not None:
        ends = " to ".join(map(points, pair.change_interval))
        kept.insert(1, Line(CHANCE, "", "", ends))
    return Block(pair.name, remark, (*kept, _verdicts(pair)))


def _line(
    name: str, pair: StagePair, field: str, shown: "_Show", difference: "_Differ", barrier: str
) -> Line:
    old, new = (None if side is None else getattr(side, field) for side in (pair.a, pair.b))
    a, b = (NONE if value is None else shown(value) for value in (old, new))
    if old is None or new is None:
        return Line(name, a, b, "")
    if barrier and getattr(pair, barrier):
        return Line(name, a, b, "not comparable", alarm=True)
    return Line(name, a, b, difference(old, new))


def _says_something(line: Line) -> bool:
    return (line.a, line.b) != (NONE, NONE) and not (line.quantity == "images" and line.a == line.b)


def _verdicts(pair: StagePair) -> Line:
    a, b = (_verdict(side) for side in (pair.a, pair.b))
    differs = a != b and NONE not in (a, b)
    return Line("verdict", a, b, "differs" if differs else "", alarm=differs)


def _verdict(side: Numbers | None) -> str:
    if side is None:
        return NONE
    if side.sha256 is None:
        return "SKIPPED"
    word = side.verdict if side.required else "reported"
    return word if side.evidence == "measured" else f"{word} ({side.evidence})"


_Show = Callable[[Any], str]
_Differ = Callable[[Any, Any], str]


def _in_points(old: float, new: float) -> str:
    return points(new - old)


def _times(old: float, new: float) -> str:
    return "" if old == new else f"{new / old:.2f} times" if old else "from nothing"


def _nothing(old: Any, new: Any) -> str:
    return ""


_QUANTITIES: dict[str, tuple[str, _Show, _Differ, str]] = {
    "top-1": ("top1", percent, _in_points, "unlike"),
    "drop": ("top1_drop", points, _in_points, "unlike"),
    "interval": (
        "confidence_interval", lambda ends: " to ".join(map(points, ends)), _nothing, "",
    ),
    "agreement": ("agreement", percent, _in_points, "unlike"),
    "SQNR": ("sqnr_db", lambda value: f"{value:.1f} dB", lambda a, b: f"{b - a:+.1f} dB", "unlike"),
    "images": ("images", str, _nothing, ""),
    "size": ("bytes", size, _times, ""),
    "time": ("seconds", seconds, _times, "elsewhere"),
    "latency": ("latency_ms", lambda value: f"{value:.2f} ms", _times, ""),
}  # fmt: skip
"""What people call it: the field, how it is shown, how two of it differ, and the field of
`StagePair` that forbids it."""
