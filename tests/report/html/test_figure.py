"""Drawings that belong to the page: its colours, names that mean nothing, ids of their own."""

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pipeline.report.html import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def paint(axes: "Axes", narrow: bool = False) -> None:
    axes.plot([0, 1], [0, 1], "o", color=figure.BLUE, label="<b>a</b> $x^2$ & more")
    axes.axvline(0.5, color=figure.ORANGE)
    axes.set_title("a title", color=figure.INK)
    axes.legend()


def test_colours_are_the_style_sheets() -> None:
    text = str(figure.one("a", "what is seen", (300, 200), paint))
    assert {"var(--blue)", "var(--orange)", "var(--ink)"} <= set(re.findall(r"var\(--\w+\)", text))
    assert not re.search(r"#[0-9a-f]{6}", text), "a colour is fixed"
    root = ElementTree.fromstring(text)
    assert root.attrib == {"viewBox": "0 0 300 200", "role": "img", "aria-label": "what is seen"}
    assert "style" not in {element.tag for element in root.iter()}


def test_names_are_only_text() -> None:
    root = ElementTree.fromstring(str(figure.one("a", '"><script>', (300, 200), paint)))
    texts = [element.text for element in root.iter("text")]
    assert "<b>a</b> $x^2$ & more" in texts
    assert root.get("aria-label") == '"><script>'


def test_ids_are_unique_on_the_page_and_lead_somewhere() -> None:
    drawings = str(figure.both("one", "alt", (100, 120), paint)) + str(
        figure.one("two", "alt", (300, 200), paint)
    )
    ids = re.findall(r' id="([^"]+)"', drawings)
    targets = set(re.findall(r'(?:url\(|href=")#([^")]+)', drawings))
    assert ids and len(set(ids)) == len(ids) and targets == set(ids)


def test_a_drawing_is_the_same_every_time() -> None:
    first, second = (str(figure.one("a", "alt", (300, 200), paint)) for _ in range(2))
    assert first == second


def test_long_names_keep_their_end() -> None:
    assert figure.short("/features/branch1/conv", 12) == "…ranch1/conv"
    assert figure.short("conv1", 12) == "conv1"
    assert figure.short("a\x00b", 12) == "a\\x00b"
