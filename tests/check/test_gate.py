"""The interval of a drop: published values, an independent inversion, exact coverage, invariants."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binom, binomtest, norm

from pipeline.check.gate import (
    Paired,
    attainable,
    decide,
    drop_interval,
    images_needed,
    least_images,
    smallest_provable_drop,
)

COUNTS = st.integers(1, 50_000).flatmap(
    lambda images: st.integers(0, images).flatmap(
        lambda lost: st.builds(
            Paired, st.just(images), st.just(lost), st.integers(0, images - lost)
        )
    )
)
CONFIDENCES = st.floats(0.51, 0.9999)


@pytest.mark.parametrize(
    ("table", "confidence", "interval"),
    [
        # Tango (1998): the examples of his paper, as cited in the tests of the R package ratesci.
        ((4, 9, 3, 16), 0.975, ("-0.027", "0.390")),
        ((43, 0, 1, 0), 0.95, ("-0.096", "0.037")),
        # Agresti and Min, "Simple improved confidence intervals for comparing matched proportions",
        # Stat. Med. 24 (2005), cited there, too.
        ((53, 16, 8, 9), 0.975, ("-0.020", "0.207")),
        # Fagerland, Lydersen and Laake, "Recommended tests and confidence intervals for paired
        # binomial proportions", Stat. Med. 33 (2014): airway reactivity, cited there, too.
        ((1, 1, 7, 12), 0.975, ("-0.517", "-0.026")),
        # Complete response before and after consolidation therapy (Cavo et al., 2012), and three
        # pairs that all changed, from the tests of the R package contingencytables (to Fagerland,
        # Lydersen and Laake, "Statistical analysis of contingency tables").
        ((59, 6, 16, 80), 0.975, ("-0.1240", "-0.0054")),
        ((0, 3, 0, 0), 0.975, ("-0.1230", "1.0000")),
        ((0, 0, 3, 0), 0.975, ("-1.0000", "0.1230")),
    ],
)  # fmt: skip
def test_published_examples(
    table: tuple[int, int, int, int], confidence: float, interval: tuple[str, str]
) -> None:
    """Pairs with both right, the first, the second and none; one-sided confidences."""
    digits = len(interval[0].split(".")[1])
    bounds = drop_interval(Paired(sum(table), table[1], table[2]), confidence)
    assert tuple(f"{bound:.{digits}f}" for bound in bounds) == interval


def likely_rates(images: int, lost: int, gained: int, drop: float) -> tuple[float, float]:
    """The most likely rates of lost and gained whose difference is `drop`, by search."""

    def unlikely(against: float) -> float:
        with np.errstate(divide="ignore"):
            rates = np.array([against + max(drop, 0), against + max(-drop, 0), 0.0])
            rates[2] = 1 - rates[0] - rates[1]
            return -float(xlogy([lost, gained, images - lost - gained], np.maximum(rates, 0)).sum())

    most = (1 - abs(drop)) / 2
    found = minimize_scalar(unlikely, bounds=(0, most), method="bounded", options={"xatol": 1e-13})
    against = min((0.0, most, float(found.x)), key=unlikely)
    return against + max(drop, 0), against + max(-drop, 0)


@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(1, 0, 0), (1, 1, 0), (2, 1, 1), (2, 1, 0), (10, 0, 0), (10, 10, 0), (10, 0, 10), (10, 5, 5), (10, 9, 0),
     (60, 3, 1), (60, 4, 0), (600, 9, 2), (600, 2, 9), (5000, 40, 31), (50_000, 3, 0)],
)  # fmt: skip
@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.99])
def test_inversion_of_the_score_test(
    images: int, lost: int, gained: int, confidence: float
) -> None:
    """The interval is the set of all drops of a grid that a score test accepts, whose restricted
    estimate is found by maximising the likelihood."""
    lower, upper = drop_interval(Paired(images, lost, gained), confidence)
    z = float(norm.ppf(confidence))
    width = upper - lower
    grid = np.concatenate([np.linspace(-1, 1, 41), lower + width * np.linspace(-0.3, 1.3, 41)])
    for drop in grid[np.abs(grid) < 1]:
        # The likelihood is flat at its maximum, so the search is not exact.
        if min(abs(drop - lower), abs(drop - upper)) < 1e-3 * width:
            continue
        one, other = likely_rates(images, lost, gained, float(drop))
        variance = one + other - drop**2
        accepted = abs(lost - gained - images * drop) <= z * math.sqrt(images * variance)
        assert accepted == (lower <= drop <= upper), drop


@given(st.integers(1, 100_000), st.data(), CONFIDENCES)
def test_only_lost_is_bounded_like_one_proportion(
    images: int, data: st.DataObject, confidence: float
) -> None:
    """Where nothing is gained, the upper end is Wilson's for the share of lost images."""
    lost = data.draw(st.integers(0, images))
    wilson = binomtest(lost, images).proportion_ci(2 * confidence - 1, method="wilson")
    upper = drop_interval(Paired(images, lost, 0), confidence)[1]
    assert upper == pytest.approx(wilson.high, rel=1e-9)


Method = Callable[[Paired, float], tuple[float, float]]


def bonett_price(paired: Paired, confidence: float) -> tuple[float, float]:
    """The adjusted Wald interval that was used before (J. Educ. Behav. Stat. 37, 2012)."""
    images = paired.images + 2
    lost, gained = (paired.lost + 1) / images, (paired.gained + 1) / images
    half = norm.ppf(confidence) * math.sqrt((lost + gained - (lost - gained) ** 2) / images)
    return lost - gained - half, lost - gained + half


def coverage(
    images: int, lost: float, gained: float, confidence: float, method: Method = drop_interval
) -> tuple[float, float]:
    """Probabilities that the upper and the lower end hold: the sum over the trinomial of all counts
    but those outside of a probability of 1e-9."""
    changed = np.arange(*binom.interval(1 - 1e-10, images, lost + gained) + np.array([0, 1]))
    of_changed = binom.pmf(changed, images, lost + gained)
    truth, above, below, total = lost - gained, 0.0, 0.0, 0.0
    for many, outer in zip(changed.astype(int), of_changed, strict=True):
        weights = outer * binom.pmf(np.arange(many + 1), many, lost / (lost + gained))
        for count in np.flatnonzero(weights > 1e-13):
            lower, upper = method(Paired(images, int(count), int(many - count)), confidence)
            total += weights[count]
            above += weights[count] * (upper >= truth)
            below += weights[count] * (lower <= truth)
    assert total == pytest.approx(1, abs=1e-9)
    return above, below


@pytest.mark.parametrize(("images", "lost"), [(200, 0.02), (600, 0.01), (600, 0.02), (5000, 0.01)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_coverage_where_the_interval_before_fell_short(
    images: int, lost: float, confidence: float
) -> None:
    """Images are only lost: an interval that is symmetric does not fit counts that are skew."""
    upper, lower = coverage(images, lost, 0.0, confidence)
    assert upper >= confidence
    assert lower >= confidence - 0.012
    if (images, lost, confidence) != (200, 0.02, 0.9):
        before, _ = coverage(images, lost, 0.0, confidence, bonett_price)
        assert before < confidence - 0.005 < upper


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_before_was_up_to_five_points_off(confidence: float) -> None:
    before, _ = coverage(600, 0.02, 0.0, confidence, bonett_price)
    after, _ = coverage(600, 0.02, 0.0, confidence)
    assert confidence - 0.06 < before < confidence - 0.03
    assert after >= confidence


@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [
        (50, 0.02, 0.02), (50, 0.1, 0.02), (200, 0.005, 0.005), (200, 0.03, 0.01), (200, 0.08, 0.08),
        (600, 0.02, 0.015), (600, 0.012, 0.007), (1000, 0.005, 0.002), (5000, 0.006, 0.001),
        (5000, 0.012, 0.007), (5000, 0.02, 0.01), (600, 0.007, 0.012),
    ],
)  # fmt: skip
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_coverage(images: int, lost: float, gained: float, confidence: float) -> None:
    upper, lower = coverage(images, lost, gained, confidence)
    assert upper >= confidence - 0.008
    assert lower >= confidence - (0.03 if images * (lost - gained) < 4 else 0.015)


@pytest.mark.parametrize("gained", [0.0, 0.3, 2.0])
@pytest.mark.parametrize(
    ("confidence", "short_above", "short_below"),
    [(0.9, 0.1, 0.08), (0.95, 0.02, 0.05), (0.99, 0.005, 0.02)],
)
def test_coverage_at_its_worst(
    confidence: float, short_above: float, short_below: float, gained: float
) -> None:
    """What the documentation says: 1000 images, of which few are lost, from as few on as can prove
    a drop at all."""
    provable = 1000 * smallest_provable_drop(1000, confidence)
    for more in np.geomspace(1.001, 12 / provable, 25) * provable:
        upper, lower = coverage(1000, (more + gained) / 1000, gained / 1000, confidence)
        assert upper >= confidence - short_above
        assert lower >= confidence - short_below


@given(COUNTS, CONFIDENCES)
def test_the_interval_is_one_and_contains_the_drop(paired: Paired, confidence: float) -> None:
    lower, upper = drop_interval(paired, confidence)
    assert -1 <= lower <= paired.drop <= upper <= 1
    assert lower < upper


@given(st.integers(1, 10**12), CONFIDENCES, st.integers(0, 3), st.integers(0, 3))
def test_any_number_of_images(images: int, confidence: float, one: int, other: int) -> None:
    """From one to a million million, with next to nothing or all but next to nothing changed."""
    few, rest = min(one, images), max(0, images - one - other)
    for paired in (
        Paired(images, few, min(other, images - few)),
        Paired(images, rest, min(other, images - rest)),
    ):
        lower, upper = drop_interval(paired, confidence)
        assert -1 <= lower <= paired.drop <= upper <= 1
        assert lower < upper
        turned = drop_interval(Paired(images, paired.gained, paired.lost), confidence)
        assert turned == (-upper, -lower)


@given(COUNTS, CONFIDENCES, CONFIDENCES)
def test_more_confidence_is_wider(paired: Paired, one: float, other: float) -> None:
    less, more = sorted((one, other))
    inner, outer = drop_interval(paired, less), drop_interval(paired, more)
    assert outer[0] <= inner[0] + 1e-12 and inner[1] <= outer[1] + 1e-12


@given(COUNTS, CONFIDENCES)
def test_more_images_are_narrower(paired: Paired, confidence: float) -> None:
    few = drop_interval(paired, confidence)
    many = drop_interval(Paired(4 * paired.images, 4 * paired.lost, 4 * paired.gained), confidence)
    assert many[1] - many[0] <= few[1] - few[0] + 1e-12


@given(COUNTS, CONFIDENCES)
def test_exchanging_the_models_turns_the_interval_around(paired: Paired, confidence: float) -> None:
    lower, upper = drop_interval(paired, confidence)
    turned = drop_interval(Paired(paired.images, paired.gained, paired.lost), confidence)
    assert turned == (-upper, -lower)


@given(COUNTS, CONFIDENCES)
def test_losing_one_more_image_is_not_better(paired: Paired, confidence: float) -> None:
    if paired.lost + paired.gained < paired.images:
        worse = Paired(paired.images, paired.lost + 1, paired.gained)
        before, after = drop_interval(paired, confidence), drop_interval(worse, confidence)
        assert after[0] >= before[0] - 1e-12 and after[1] >= before[1] - 1e-12


@given(st.integers(1, 100_000), CONFIDENCES)
def test_what_no_image_can_prove(images: int, confidence: float) -> None:
    least = smallest_provable_drop(images, confidence)
    z = norm.ppf(confidence)
    assert least == pytest.approx(z**2 / (images + z**2))
    unchanged = drop_interval(Paired(images, 0, 0), confidence)
    assert decide(unchanged, least) == "PASS"
    assert decide(unchanged, least * 0.999) == "UNDECIDED"
    assert attainable(images, least, confidence)
    assert not attainable(images, least * 0.999, confidence)


@given(st.floats(1e-6, 0.2), CONFIDENCES)
def test_the_least_number_of_images(limit: float, confidence: float) -> None:
    images = least_images(limit, confidence)
    assert images is not None and attainable(images, limit, confidence)
    # One less is too few, unless this is where rounding decides.
    assert images == 1 or not attainable(images - 1, limit * (1 - 1e-12), confidence)


def test_no_number_of_images_proves_that_nothing_is_lost() -> None:
    assert least_images(0.0, 0.95) is None
    assert not attainable(10**9, 0.0, 0.95)
    assert least_images(0.005, 0.95) == 539  # 1.645² · 0.995 / 0.005 = 538.4


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


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.001])
@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(60, 0, 0), (60, 1, 0), (60, 5, 1), (600, 6, 2), (600, 1, 1), (600, 30, 8), (5000, 40, 20)],
)
def test_the_number_of_images_that_would_decide(
    images: int, lost: int, gained: int, limit: float
) -> None:
    paired = Paired(images, lost, gained)
    if decide(drop_interval(paired, 0.95), limit) != "UNDECIDED":
        return
    needed = images_needed(paired, limit, 0.95)
    assert needed is not None and needed > images

    def verdict(number: int) -> str:
        share = number / images
        # Counts between whole numbers, so that rounding does not enter.
        scaled: Any = (number, lost * share, gained * share)
        return decide(drop_interval(Paired(*scaled), 0.95), limit)

    assert verdict(needed) != "UNDECIDED"
    # Rates of next to nothing are not believed, so it may be more than these rates ask for.
    if lost + gained > 50:
        assert verdict(int(0.95 * needed)) == "UNDECIDED"


def test_no_number_of_images_decides_at_the_limit_itself() -> None:
    assert images_needed(Paired(1000, 5, 0), 0.005, 0.95) is None
