"""The tables of docs/verdicts.md are what the functions that judge say."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.check import gate, sequential
from pipeline.check.gate import Paired, decide, drop_interval
from pipeline.check.published import Figure, published_interval
from pipeline.check.sequential import anytime_interval

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"
CONFIDENCE, LIMIT = 0.95, 0.005
COUNTS = (
    Paired(315, 0, 2), Paired(315, 0, 0), Paired(1000, 0, 0), Paired(1000, 8, 3),
    Paired(5000, 40, 30), Paired(5000, 60, 20), Paired(50_000, 400, 300),
)  # fmt: skip
LIMITS = (0.002, 0.005, 0.01, 0.02, 0.03)
CHANGED = 0.02
MANY = 10**6
"""Images of which a rate is taken, so that no single one matters."""
Row = list[str]


def intervals() -> list[Row]:
    rows = []
    for counts in COUNTS:
        row = [str(counts.images), str(counts.lost), str(counts.gained), points(counts.drop)]
        for interval in (drop_interval(counts, CONFIDENCE), anytime_interval(counts, CONFIDENCE)):
            row += [" to ".join(points(end) for end in interval), decide(interval, LIMIT)]
        rows.append(row)
    return rows


def images() -> list[Row]:
    rows = []
    for limit in LIMITS:
        row = [f"{100 * limit:g}"]
        for method in (gate, sequential):
            found = [method.least_images(limit, CONFIDENCE)]
            for drop in (0.0, limit / 2):
                lost, gained = (round(MANY * (CHANGED + way * drop) / 2) for way in (1, -1))
                found.append(method.images_needed(Paired(MANY, lost, gained), limit, CONFIDENCE))
            row += [str(number) for number in found]
        rows.append(row)
    return rows


def published() -> list[Row]:
    figure = Figure(0.80144, "imagenet", "timm")
    rows = []
    for count in (1000, 2000, 5000, 10_000, 50_000):
        low, high = published_interval(figure, count)
        rows.append([str(count), f"{points(low)} % to {points(high)} %"])
    return rows


def points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


TABLES: dict[str, Callable[[], list[Row]]] = {
    "intervals": intervals,
    "images": images,
    "published": published,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_the_functions_say(name: str) -> None:
    (text,) = re.findall(
        rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", PAGE.read_text(), flags=re.DOTALL
    )
    rows = "".join(f"| {' | '.join(row)} |\n" for row in TABLES[name]())
    heading = "".join(text.splitlines(keepends=True)[:2])
    assert text == heading + rows, f"docs/verdicts.md, <!-- {name} -->, should have:\n{rows}"


def test_what_the_text_says_of_315_images() -> None:
    smallest = gate.smallest_provable_drop(315, CONFIDENCE)
    text = " ".join(PAGE.read_text().split())
    assert f"less than {points(smallest)} points are lost" in text
