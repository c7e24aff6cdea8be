"""Flipped images from logits made by hand, and pictures that can be decoded again."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.preprocess import Preprocess
from pipeline.data.samples import Sample, Samples
from pipeline.report.html.pictures import FLIPS, data_uri, flips_of, sights_of
from pipeline.report.html.view import Absent

VIEW = Preprocess(size=16, crop=1.0)
NAMES = ("none", "one", "two")


class Pictures:
    """A dataset whose pictures are of one colour."""

    name, class_count = "pictures", 3

    def __init__(self, size: tuple[int, int] = (20, 20)) -> None:
        self._size = size

    def where(self, id: str) -> str:
        return id

    def content(self, id: str) -> bytes:
        return id.encode()

    def decode(self, id: str, content: bytes) -> Image.Image:
        return Image.new("RGB", self._size, (10 * int(id), 100, 200))


def samples_of(labels: list[int], dataset: Any = None) -> Samples:
    from pipeline.data.dataset import content_digest

    items = tuple(
        Sample(str(i), label, content_digest(str(i).encode())) for i, label in enumerate(labels)
    )
    return Samples("evaluation", dataset or Pictures(), items)


def logits(classes: list[int]) -> np.ndarray:
    return 4 * np.eye(3, dtype=np.float32)[classes]


def test_what_was_lost_comes_first() -> None:
    labels = [0, 1, 2, 0, 1]
    found = flips_of(
        "Integer TFLite", logits([0, 0, 2, 1, 0]), logits([0, 1, 1, 2, 0]), samples_of(labels), 0,
        NAMES, VIEW,
    )  # fmt: skip
    assert not isinstance(found, Absent)
    assert found.counts == {"lost": 1, "gained": 1, "changed": 1} and found.total == 3
    assert [(flip.kind, flip.id, flip.label) for flip in found.shown] == [
        ("lost", "2", "two"), ("gained", "1", "one"), ("changed", "3", "none"),
    ]  # fmt: skip
    first = found.shown[0]
    assert [ranked.name for ranked in first.before] == ["two", "none", "one"]
    assert [ranked.right for ranked in first.after] == [False, False, True]
    expected = np.exp(4) / (np.exp(4) + 2)
    assert first.before[0].probability == pytest.approx(expected)


def test_labels_are_moved_as_the_recipe_says() -> None:
    found = flips_of("x", logits([1]), logits([2]), samples_of([0]), 1, NAMES, VIEW)
    assert not isinstance(found, Absent)
    assert (found.shown[0].kind, found.shown[0].label) == ("lost", "one")


def test_no_more_than_a_dozen_are_shown() -> None:
    count = FLIPS + 5
    found = flips_of("x", logits([0] * count), logits([1] * count), samples_of([0] * count), 0,
                     None, VIEW)  # fmt: skip
    assert not isinstance(found, Absent)
    assert found.total == count and len(found.shown) == FLIPS
    assert found.shown[0].label == "class 0"


def test_nothing_flipped() -> None:
    same = logits([0, 1])
    found = flips_of("the end", same, same, samples_of([0, 1]), 0, NAMES, VIEW)
    assert found == Absent(
        "No image flipped: the end predicts the float model's class on all 2 evaluation images."
    )


def test_logits_that_are_no_numbers_have_no_probability() -> None:
    broken = np.full((1, 3), np.nan, np.float32)
    broken[0, 1] = np.inf
    found = flips_of("x", logits([0]), broken, samples_of([0]), 0, NAMES, VIEW)
    if not isinstance(found, Absent):
        assert all(ranked.probability is None for ranked in found.shown[0].after)


def test_outputs_that_are_probabilities_stay_as_they_are() -> None:
    before = np.array([[0.7, 0.2, 0.1]], np.float32)
    after = np.array([[0.3, 0.6, 0.1]], np.float32)
    found = flips_of("x", before, after, samples_of([0]), 0, NAMES, VIEW)
    assert not isinstance(found, Absent)
    assert [r.probability for r in found.shown[0].after] == pytest.approx([0.6, 0.3, 0.1])


def decoded(uri: str) -> Image.Image:
    kind, content = uri.split(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize(("side", "shown"), [(16, 16), (299, 112)])
def test_thumbnails_are_small(side: int, shown: int) -> None:
    crop = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    uri = data_uri(crop)
    assert decoded(uri).size == (shown, shown)
    assert len(uri) < 30_000


def test_both_views_of_a_wide_picture() -> None:
    sights = sights_of(samples_of([0, 1, 2, 0], Pictures((40, 10))), 0, NAMES, VIEW)
    assert not isinstance(sights, Absent)
    assert [sight.label for sight in sights] == ["none", "one", "two"]
    ours = np.asarray(decoded(sights[0].model).convert("RGB"))
    theirs = np.asarray(decoded(sights[0].device).convert("RGB"))
    assert tuple(ours[0, 0]) != (128, 128, 128) and tuple(theirs[0, 0]) == (128, 128, 128)


def test_pictures_that_the_board_would_leave_nothing_of() -> None:
    sights = sights_of(samples_of([0], Pictures((4000, 1))), 0, NAMES, VIEW)
    assert isinstance(sights, Absent)
