"""The pictures of docs/quantization.md are drawn anew and show what the committed ones show.

Compared are the numbers that a picture holds and its words in order, not bytes: Matplotlib's paths
change a little from version to version. Numbers may differ by a few in their last digit, because
libraries add up in other orders; where values fall on the edge of a bin, counts may move by as much.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
PAGE = FOLDER.parent / "quantization.md"
SVG = "{http://www.w3.org/2000/svg}"
COMMITTED = sorted(path.name for path in FOLDER.glob("*.svg"))
MOST_BYTES = 60_000


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    done = subprocess.run(
        [sys.executable, FOLDER / "draw.py", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def numbers(path: Path) -> Any:
    element = ElementTree.parse(path).getroot().find(f"{SVG}metadata")
    assert element is not None
    return json.loads(element.text or "")


def words(path: Path) -> list[str]:
    return [
        "".join(text.itertext()) for text in ElementTree.parse(path).getroot().iter(f"{SVG}text")
    ]


def assert_alike(ours: Any, theirs: Any, where: str) -> None:
    """Equal in form, and in numbers to a thousandth of the largest beside them."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for key in ours:
            assert_alike(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        tolerance = 1e-3 * max(map(abs, theirs))
        assert ours == pytest.approx(theirs, rel=1e-3, abs=tolerance), where
    else:
        assert ours == pytest.approx(theirs, rel=1e-3), where


def test_every_picture_is_drawn_and_shown(drawn: Path) -> None:
    assert COMMITTED
    assert sorted(path.name for path in drawn.iterdir()) == COMMITTED
    for name in COMMITTED:
        assert f"](pictures/{name})" in PAGE.read_text()


@pytest.mark.parametrize("name", COMMITTED)
def test_a_picture_shows_what_the_committed_one_shows(name: str, drawn: Path) -> None:
    assert_alike(numbers(drawn / name), numbers(FOLDER / name), name)
    assert words(drawn / name) == words(FOLDER / name)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_picture_is_small_and_has_its_own_ground_in_both_themes(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert len(text) < MOST_BYTES
    assert 'fill="var(--paper)"' in text
    assert "prefers-color-scheme: dark" in text
    used = {part.split(")")[0] for part in text.split("var(--")[1:]}
    light, dark = text.split("prefers-color-scheme: dark")
    for role in used:
        assert f"--{role}:" in light
        assert f"--{role}:" in dark
    assert ElementTree.parse(FOLDER / name).getroot().get("aria-label")


def test_the_page_says_the_numbers_of_its_pictures() -> None:
    text = " ".join(PAGE.read_text().split())
    ranges = numbers(FOLDER / "ranges.svg")["chosen_ratios"]
    assert f"values: {ranges['minmax']:.1f} dB" in text
    assert f"and has {ranges['mse']:.1f}" in text
    layers = numbers(FOLDER / "equalization.svg")
    assert f"{layers['before']['ratio']:.1f} to {layers['after']['ratio']:.1f} dB" in text
    ratios = numbers(FOLDER / "rounding.svg")["ratios"]
    assert f"{ratios['nearest']:.1f} to {ratios['nearest, mean put back']:.1f} dB" in text
    assert f"With the mean put back: {ratios['adaptive, mean put back']:.1f} dB" in text
    channels = numbers(FOLDER / "channels.svg")
    sizes = [max(-low, high) for low, high in zip(channels["low"], channels["high"], strict=True)]
    assert f"the largest is {round(max(sizes) / min(sizes), -1):.0f} times" in text
    assert min(channels["per_tensor"]) == 0
