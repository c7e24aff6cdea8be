"""A published accuracy is held where it says something, and then with a known error rate."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from pipeline.check.published import (
    SET_SIZES,
    TOLERANCE,
    Circumstances,
    Figure,
    foreign_images,
    images_to_hold,
    judge_published,
    published_interval,
)
from pipeline.data.preprocess import Preprocess

FIGURE = Figure(0.80144, "imagenet", "timm's results table")
VIEW = Preprocess(size=299)
SAME = Circumstances(
    dataset="imagenet",
    changed_weights=None,
    preprocess=VIEW,
    own_preprocess=VIEW,
    foreign_images=0,
    uneven_classes=(),
)


def judged(images: int, top1: float, **changes: Any) -> tuple[str, str]:
    return judge_published(FIGURE, replace(SAME, **changes), images, round(images * top1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": "imagenetv2"}, "published for imagenet, not for imagenetv2"),
        ({"changed_weights": "the file is of your own"}, "the file is of your own"),
        ({"preprocess": Preprocess(size=224)}, "not the model's own"),
        ({"foreign_images": 3}, "3 evaluation images are not called ILSVRC2012_val_"),
        ({"other_labels": "labels of ReaL"}, "labels of ReaL"),
        ({"uneven_classes": ("only 10 of 1000 classes have images",)}, "only 10 of 1000"),
    ],
)
def test_what_says_nothing_is_skipped(changes: dict[str, Any], says: str) -> None:
    # Far off: were it held, it would fail.
    verdict, reason = judged(5000, 0.5, **changes)
    assert verdict == "SKIPPED"
    assert says in reason and "80.14 %" in reason and "timm's results table" in reason


def test_a_set_of_unknown_size_is_skipped() -> None:
    figure = Figure(0.9, "folder", "somebody")
    verdict, reason = judge_published(figure, replace(SAME, dataset="folder"), 100, 90)
    assert (verdict, "no published set of folder" in reason) == ("SKIPPED", True)
    assert judged(0, 0.0)[0] == "SKIPPED"


@pytest.mark.parametrize(
    ("images", "top1", "verdict"),
    [
        (50_000, 0.80144, "PASS"),
        (50_000, 0.8005, "PASS"),  # within the tolerance
        (50_000, 0.7980, "FAIL"),
        (5000, 0.790, "PASS"),
        (5000, 0.775, "FAIL"),  # as a wrong mean and std would leave it
        (5000, 0.830, "FAIL"),  # better than published is no less wrong
        (5000, 0.0101, "FAIL"),
        (300, 0.78, "UNDECIDED"),
        (300, 0.60, "FAIL"),
        (1, 1.0, "UNDECIDED"),
    ],
)
def test_verdicts(images: int, top1: float, verdict: str) -> None:
    assert judged(images, top1)[0] == verdict


@pytest.mark.parametrize("images", [50, 300, 2700, 5000, 20_000, 49_808, 50_000])
@pytest.mark.parametrize("top1", [0.6022, 0.80144, 0.97])
def test_a_right_model_is_seldom_called_wrong(images: int, top1: float) -> None:
    """The exact chance that some `images` of the set, on which the model has exactly the published
    accuracy, fall within the interval; without the tolerance, which would hide a mistake."""
    total = SET_SIZES["imagenet"]
    low, high = published_interval(replace(FIGURE, top1=top1), images)
    right = hypergeom(total, round(top1 * total), images)
    low, high = low + TOLERANCE * (low > 0), high - TOLERANCE * (high < 1)
    inside = right.cdf(math.floor(high * images)) - right.cdf(math.ceil(low * images) - 1)
    # The approximation by a normal distribution is worst at the ends, on few images.
    assert inside >= (0.98 if images < 1000 else 0.99)


@pytest.mark.parametrize("top1", [0.5, 0.6939, 0.80144, 0.97, 0.9995])
@pytest.mark.parametrize("dataset", SET_SIZES)
def test_the_fewest_images_that_hold_a_figure(top1: float, dataset: str) -> None:
    figure, same = replace(FIGURE, top1=top1, dataset=dataset), replace(SAME, dataset=dataset)
    enough = images_to_hold(figure)
    assert 1 < enough < SET_SIZES[dataset]
    verdicts = [
        judge_published(figure, same, images, round(images * top1))[0]
        for images in (enough - 1, enough)
    ]
    assert verdicts == ["UNDECIDED", "PASS"]


@given(st.integers(1, 60_000), st.floats(0, 1), st.floats(0.6, 0.9999))
def test_the_interval_holds_the_figure_and_shrinks(
    images: int, top1: float, confidence: float
) -> None:
    figure = replace(FIGURE, top1=top1)
    low, high = published_interval(figure, images, confidence)
    assert 0 <= low <= top1 <= high <= 1
    more = published_interval(figure, images + 1, confidence)
    assert low <= more[0] + 1e-12 and more[1] <= high + 1e-12


def test_validation_images_are_told_by_their_names() -> None:
    ids = [
        "val/ILSVRC2012_val_00000001.JPEG",
        "n01440764/ILSVRC2012_val_00000293.JPEG",
        "ILSVRC2012_val_00000001_n01751748.JPEG",
        "n01440764/n01440764_10026.JPEG",
        "ILSVRC2012_val_1.JPEG",
    ]
    assert foreign_images("imagenet", ids) == 2
    assert foreign_images("imagenetv2", ids) == 0
