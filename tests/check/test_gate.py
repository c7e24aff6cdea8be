"""The interval of a drop: published values, an independent implementation, coverage, invariants."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pipeline.check.gate import (
    Paired,
    decide,
    drop_interval,
    images_needed,
    smallest_provable_drop,
)

COUNTS = st.integers(2, 50_000).flatmap(
    lambda images: st.integers(0, images).flatmap(
        lambda lost: st.builds(
            Paired, st.just(images), st.just(lost), st.integers(0, images - lost)
        )
    )
)
CONFIDENCES = st.floats(0.51, 0.9999)


def test_the_published_example() -> None:
    """Complete response before and after consolidation therapy (Cavo et al., 2012): 59, 6, 16 and
    80 patients. The R package contingencytables (to Fagerland, Lydersen and Laake, "Statistical
    analysis of contingency tables") gives the Bonett-Price interval as -0.1195 to -0.0032."""
    paired = Paired(images=59 + 6 + 16 + 80, lost=6, gained=16)
    assert paired.drop == pytest.approx(-0.0621, abs=5e-5)
    lower, upper = drop_interval(paired, 0.975)  # two-sided 95 %
    assert (round(lower, 4), round(upper, 4)) == (-0.1195, -0.0032)


def test_worked_by_hand() -> None:
    # 98 images, 3 lost, none gained: (4 and 1) of 100, so 0.03 +- z sqrt((0.05 - 0.0009) / 100).
    lower, upper = drop_interval(Paired(98, 3, 0), 0.95)
    half = 1.6448536269514722 * math.sqrt(0.0491 / 100)
    assert lower == pytest.approx(0.03 - half, abs=1e-12)
    assert upper == pytest.approx(0.03 + half, abs=1e-12)


def laplace_interval(images: int, lost: int, gained: int, confidence: float) -> tuple[float, float]:
    """The same from the definition of a variance: the sample with one image added to either
    discordant count, each image counting +1, -1 or 0."""
    values = np.concatenate(
        [np.ones(lost + 1), -np.ones(gained + 1), np.zeros(images - lost - gained)]
    )
    error = values.std() / math.sqrt(len(values))
    low, high = values.mean() + np.array([-1, 1]) * norm.ppf(confidence) * error
    return max(low, -1.0), min(high, 1.0)


@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(1, 0, 0), (1, 1, 0), (10, 0, 0), (10, 10, 0), (10, 0, 10), (60, 3, 1), (600, 9, 2), (5000, 40, 31)],
)  # fmt: skip
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.95, 0.99])
def test_an_independent_implementation(
    images: int, lost: int, gained: int, confidence: float
) -> None:
    assert drop_interval(Paired(images, lost, gained), confidence) == pytest.approx(
        laplace_interval(images, lost, gained, confidence), abs=1e-12
    )


def coverage(images: int, lost: float, gained: float, confidence: float) -> tuple[float, float]:
    """How often the upper end, and how often the whole interval, holds; 40 000 drawn samples."""
    random = np.random.default_rng(12)
    drawn = random.multinomial(images, [lost, gained, 1 - lost - gained], 40_000)
    counts, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    bounds = np.array(
        [drop_interval(Paired(images, int(a), int(b)), confidence) for a, b in counts]
    )
    truth, weights = lost - gained, times / times.sum()
    above = bounds[:, 1] >= truth
    return float(weights[above].sum()), float(weights[above & (bounds[:, 0] <= truth)].sum())


@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [
        (50, 0.02, 0.02), (50, 0.1, 0.02), (200, 0.005, 0.005), (200, 0.03, 0.01), (200, 0.08, 0.08),
        (600, 0.02, 0.015), (600, 0.012, 0.007), (1000, 0.005, 0.002), (5000, 0.006, 0.001),
        (5000, 0.012, 0.007), (5000, 0.02, 0.01),
    ],
)  # fmt: skip
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_coverage(images: int, lost: float, gained: float, confidence: float) -> None:
    """The upper end decides PASS: it holds as often as it says, but for the hundredth that an
    approximation falls short where more is lost than gained."""
    upper, both = coverage(images, lost, gained, confidence)
    assert upper >= confidence - 0.013
    assert both >= 2 * confidence - 1 - 0.013


@pytest.mark.parametrize(("images", "lost"), [(200, 0.02), (600, 0.01), (600, 0.02), (5000, 0.01)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_coverage_at_its_worst(images: int, lost: float, confidence: float) -> None:
    """Where images are only lost and none gained, the counts are too skew for an interval that is
    symmetric, and the upper end falls short by up to five hundredths."""
    upper, _ = coverage(images, lost, 0.0, confidence)
    assert upper >= confidence - 0.055


@given(COUNTS, CONFIDENCES)
def test_the_interval_is_one_and_contains_the_adjusted_drop(
    paired: Paired, confidence: float
) -> None:
    lower, upper = drop_interval(paired, confidence)
    assert -1 <= lower <= upper <= 1
    assert lower <= (paired.lost - paired.gained) / (paired.images + 2) <= upper


@given(COUNTS, st.floats(0.8, 0.9999))
def test_the_interval_contains_the_drop(paired: Paired, confidence: float) -> None:
    # The added images draw the centre to 0; from 80 % on the width makes up for it, except where
    # nearly every image changed in one direction.
    if abs(paired.drop) <= 0.5:
        lower, upper = drop_interval(paired, confidence)
        assert lower <= paired.drop <= upper


@given(COUNTS, CONFIDENCES, CONFIDENCES)
def test_more_confidence_is_wider(paired: Paired, one: float, other: float) -> None:
    less, more = sorted((one, other))
    inner, outer = drop_interval(paired, less), drop_interval(paired, more)
    assert outer[0] <= inner[0] and inner[1] <= outer[1]


@given(COUNTS, CONFIDENCES)
def test_more_images_are_narrower(paired: Paired, confidence: float) -> None:
    few = drop_interval(paired, confidence)
    many = drop_interval(Paired(4 * paired.images, 4 * paired.lost, 4 * paired.gained), confidence)
    assert many[1] - many[0] <= few[1] - few[0] + 1e-12


@given(COUNTS, CONFIDENCES)
def test_exchanging_the_models_turns_the_interval_around(paired: Paired, confidence: float) -> None:
    lower, upper = drop_interval(paired, confidence)
    turned = drop_interval(Paired(paired.images, paired.gained, paired.lost), confidence)
    assert turned == pytest.approx((-upper, -lower), abs=1e-12)


@given(COUNTS, CONFIDENCES)
def test_losing_one_more_image_is_not_better(paired: Paired, confidence: float) -> None:
    if paired.lost + paired.gained < paired.images and confidence >= 0.8:
        worse = Paired(paired.images, paired.lost + 1, paired.gained)
        if worse.drop <= 0.5:
            assert drop_interval(worse, confidence)[1] >= drop_interval(paired, confidence)[1]


@given(st.integers(1, 100_000), CONFIDENCES)
def test_what_no_image_can_prove(images: int, confidence: float) -> None:
    least = smallest_provable_drop(images, confidence)
    assert least == pytest.approx(min(1.0, norm.ppf(confidence) * math.sqrt(2) / (images + 2)))
    unchanged = drop_interval(Paired(images, 0, 0), confidence)
    assert decide(unchanged, least) == "PASS"
    assert decide(unchanged, least * 0.999) == "UNDECIDED"


@pytest.mark.parametrize(
    ("interval", "limit", "verdict"),
    [
        ((-0.01, 0.004), 0.005, "PASS"),
        ((-0.01, 0.005), 0.005, "PASS"),
        ((-0.01, 0.0050001), 0.005, "UNDECIDED"),
        ((0.005, 0.02), 0.005, "UNDECIDED"),
        ((0.0050001, 0.02), 0.005, "FAIL"),
        ((-0.03, -0.01), 0.0, "PASS"),
        ((0.0, 0.0), 0.0, "PASS"),
    ],
)
def test_the_decision(interval: tuple[float, float], limit: float, verdict: str) -> None:
    assert decide(interval, limit) == verdict


@given(COUNTS, st.floats(0, 0.2), CONFIDENCES)
def test_a_wider_limit_is_never_worse(paired: Paired, limit: float, confidence: float) -> None:
    order = {"FAIL": 0, "UNDECIDED": 1, "PASS": 2}
    interval = drop_interval(paired, confidence)
    assert order[decide(interval, limit)] <= order[decide(interval, limit + 0.01)]


def least_deciding(paired: Paired, limit: float) -> int:
    """The least number of images (to 1 %) that decides at exactly these rates, by trying."""
    images = 1
    while True:
        share = images / paired.images
        # Counts between whole numbers, so that rounding does not enter.
        scaled: Any = (images, paired.lost * share, paired.gained * share)
        if decide(drop_interval(Paired(*scaled), 0.95), limit) != "UNDECIDED":
            return images
        images = int(images * 1.01) + 1


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.001])
@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(60, 0, 0), (60, 1, 0), (60, 5, 1), (600, 6, 2), (600, 1, 1), (600, 30, 8), (5000, 40, 20)],
)
def test_the_number_of_images_that_would_decide(
    images: int, lost: int, gained: int, limit: float
) -> None:
    paired = Paired(images, lost, gained)
    if decide(drop_interval(paired, 0.95), limit) == "UNDECIDED":
        needed = images_needed(paired, limit, 0.95)
        assert needed is not None and needed > images
        # Rates of next to nothing are not believed, so it may be more, but is hardly ever less.
        assert needed >= 0.95 * least_deciding(paired, limit)
        if lost > 10:
            assert needed <= 1.05 * least_deciding(paired, limit)


def test_no_number_of_images_decides_at_the_limit_itself() -> None:
    assert images_needed(Paired(1000, 5, 0), 0.005, 0.95) is None
