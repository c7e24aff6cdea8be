"""The comparison as a table of texts, a row for each stage: what terminal and Markdown show."""

from dataclasses import dataclass

from pipeline.quantities import points, seconds, size
from pipeline.regression.result import GateResult, Quantity, Row, RowVerdict

COLUMNS: tuple[tuple[Quantity, str], ...] = (
    ("top1", "top-1"),
    ("top1_drop", "drop"),
    ("bytes", "size"),
    ("seconds", "time"),
)
"""Quantities in order, and what people call them."""
LATENCY: tuple[Quantity, str] = ("latency_ms", "latency")
"""Only where there was a board."""
NAMES: dict[Quantity, str] = {"stage": "stage", **dict((*COLUMNS, LATENCY))}


@dataclass(frozen=True)
class Cell:
    """What it is now, what it was (empty where nothing was compared), and the verdict."""

    now: str
    before: str
    verdict: RowVerdict


EMPTY = Cell("-", "", "PASS")


def columns_of(result: GateResult) -> tuple[tuple[Quantity, str], ...]:
    """The columns that this table has."""
    on_board = any(row.quantity == LATENCY[0] for row in result.rows)
    return (*COLUMNS, LATENCY) if on_board else COLUMNS


def table_of(result: GateResult) -> list[tuple[str, list[Cell]]]:
    """Each stage with its cells, one for each of the columns."""
    columns = columns_of(result)
    stages = dict.fromkeys(row.stage for row in result.rows)
    rows = {(row.stage, row.quantity): row for row in result.rows}
    table = []
    for stage in stages:
        whole = rows.get((stage, "stage"))
        if whole is not None:
            word = "new" if whole.baseline is None else "missing"
            cells = [Cell(word, "", whole.verdict), *[EMPTY] * (len(columns) - 1)]
        else:
            cells = [_cell(rows.get((stage, quantity))) for quantity, _ in columns]
        table.append((stage, cells))
    return table


def _cell(row: Row | None) -> Cell:
    if row is None:
        return EMPTY
    return Cell(_shown(row.quantity, row.now), _shown(row.quantity, row.baseline), row.verdict)


def _shown(quantity: str, value: float | None) -> str:
    if value is None:
        return "-"
    if quantity == "top1":
        return f"{100 * value:.2f}%"  # narrow, as in the table of a run
    if quantity == "top1_drop":
        return points(value)
    if quantity == "latency_ms":
        return f"{value:.2f} ms"
    return size(value) if quantity == "bytes" else seconds(value)


def sentences(result: GateResult, verdict: RowVerdict) -> list[str]:
    """Every row of this verdict as a line that says what and why; lines that say the same of
    several stages are one."""
    stages: dict[tuple[Quantity, str], list[str]] = {}
    for row in result.rows:
        if row.verdict == verdict:
            stages.setdefault((row.quantity, row.reason), []).append(row.stage)
    return [
        f"{', '.join(names)}: {reason if what == 'stage' else f'{NAMES[what]}: {reason}'}"
        for (what, reason), names in stages.items()
    ]
