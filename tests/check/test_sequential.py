"""Verdicts that may be looked at after every batch: exact expectations, simulated error rates."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multinomial, norm

from pipeline.check import gate
from pipeline.check.gate import Paired, decide
from pipeline.check.sequential import (
    anytime_interval,
    attainable,
    images_needed,
    least_images,
    log_capital,
)

COUNTS = st.integers(1, 50_000).flatmap(
    lambda images: st.integers(0, images).flatmap(
        lambda lost: st.builds(
            Paired, st.just(images), st.just(lost), st.integers(0, images - lost)
        )
    )
)
CONFIDENCES = st.floats(0.51, 0.9999)


def all_counts(images: int) -> NDArray[np.int64]:
    """Every pair of lost and gained that adds up to no more than `images`: `[n, 2]`."""
    lost, gained = np.meshgrid(np.arange(images + 1), np.arange(images + 1))
    return np.stack([lost, gained], axis=-1)[lost + gained <= images]


@pytest.mark.parametrize("limit", [-0.3, 0.0, 0.005, 0.02, 0.2])
@pytest.mark.parametrize("gained", [0.3, 0.35])
@pytest.mark.parametrize("images", [1, 7, 40])
def test_no_bet_wins_where_the_drop_is_the_limit(limit: float, gained: float, images: int) -> None:
    """The expected capital, summed over all counts, is what it started with; less where more is
    lost. This is all that the validity of the method rests on."""
    lost = gained + limit
    counts = all_counts(images)
    outcomes = np.column_stack([counts, images - counts.sum(axis=1)])
    capital = np.exp(log_capital(images, counts[:, 0], counts[:, 1], limit))

    def expected(lost: float) -> float:
        chances = multinomial.pmf(outcomes, images, [lost, gained, 1 - lost - gained])
        assert chances.sum() == pytest.approx(1, rel=1e-9)
        return float(chances @ capital)

    assert expected(lost) == pytest.approx(1, rel=1e-9)
    assert expected(lost + 0.05) < 1
    assert expected(max(lost - 0.05, 0)) > 1 or lost == 0


class Simulated(NamedTuple):
    """Shares of the trials with each verdict, and the images they took on average."""

    passed: float
    failed: float
    images: float


def first(reached: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first look of each trial `[trials, looks]` at which it is; the number of looks if none."""
    looks = np.where(reached.any(axis=1), reached.argmax(axis=1), reached.shape[1])
    return np.asarray(looks, np.int64)


def outcome(below: NDArray[np.bool_], above: NDArray[np.bool_], batch: int) -> Simulated:
    """From what each look of each trial says of the drop: the first that says anything counts."""
    passed, failed = first(below), first(above)
    taken = np.minimum(np.minimum(passed, failed) + 1, below.shape[1]) * batch
    return Simulated(
        float((passed < failed).mean()), float((failed < passed).mean()), float(taken.mean())
    )


def drawn(
    lost: float, gained: float, *, images: int, batch: int, trials: int, seed: int
) -> NDArray[np.int64]:
    """Counts after every batch: `[trials, looks, 3]` of images, lost and gained."""
    random = np.random.default_rng(seed)
    changes = random.multinomial(
        batch, [lost, gained, 1 - lost - gained], size=(trials, images // batch)
    )
    changes[..., 2] = batch
    return np.asarray(changes[..., [2, 0, 1]].cumsum(axis=1))


def looked_at(counts: NDArray[np.int64], limit: float, confidence: float) -> Simulated:
    """All trials by the method under test, some at a time to save memory."""
    enough = -math.log(1 - confidence)
    below, above = [], []
    for part in np.array_split(counts, max(1, counts.shape[0] * counts.shape[1] // 50_000)):
        images, lost, gained = np.moveaxis(part, -1, 0)
        below.append(log_capital(images, lost, gained, limit) >= enough)
        above.append(log_capital(images, gained, lost, -limit) >= enough)
    return outcome(np.concatenate(below), np.concatenate(above), int(counts[0, 0, 0]))


def naively(counts: NDArray[np.int64], limit: float, confidence: float) -> Simulated:
    """The same by an interval for one look (Bonett and Price, 2012), looked at as often."""
    images, lost, gained = np.moveaxis(counts, -1, 0)
    one, other = (lost + 1) / (images + 2), (gained + 1) / (images + 2)
    half = norm.ppf(confidence) * np.sqrt((one + other - (one - other) ** 2) / (images + 2))
    below, above = one - other + half <= limit, one - other - half > limit
    return outcome(below, above, int(counts[0, 0, 0]))


@pytest.mark.parametrize(
    ("limit", "gained"),
    [(0.005, 0.0), (0.005, 0.002), (0.005, 0.01), (0.005, 0.05), (0.02, 0.005), (0.02, 0.1), (0.0, 0.01)],
)  # fmt: skip
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wrong_verdicts_at_the_limit_itself(limit: float, gained: float, confidence: float) -> None:
    """A drop of exactly the limit, where neither is to be said more often than stated: 2000 trials,
    looked at after every 10 images up to 3000."""
    counts = drawn(limit + gained, gained, images=3000, batch=10, trials=2000, seed=3)
    found = looked_at(counts, limit, confidence)
    assert found.failed <= 1 - confidence
    assert found.passed <= 1 - confidence


@pytest.mark.parametrize("limit", [0.005, 0.02])
@pytest.mark.parametrize("changed", [0.0, 0.01, 0.04])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.25, 2.0, 4.0])
def test_wrong_verdicts_on_either_side(limit: float, changed: float, share: float) -> None:
    """Drops of several shares of the limit: a FAIL of one within and a PASS of one beyond are wrong."""
    drop = share * limit
    counts = drawn(changed / 2 + drop, changed / 2, images=4000, batch=20, trials=1000, seed=4)
    found = looked_at(counts, limit, 0.9)
    assert (found.failed if drop < limit else found.passed) <= 0.1


def test_an_interval_for_one_look_does_not_survive_many() -> None:
    """What the method is for, and that these simulations can tell."""
    counts = drawn(0.015, 0.01, images=6000, batch=10, trials=1000, seed=5)
    naive, found = naively(counts, 0.005, 0.95), looked_at(counts, 0.005, 0.95)
    assert naive.failed > 0.12 and naive.passed > 0.12
    assert found.failed <= 0.05 and found.passed <= 0.05


@pytest.mark.parametrize("gained", [0, 20, 100])
def test_errors_are_rarer_without_replacement(gained: int) -> None:
    """All 2000 images of a finite set, in 1000 random orders, whose own drop is the limit."""
    limit, total = 0.02, 2000
    lost = gained + round(limit * total)
    values = np.repeat(np.array([1, -1, 0], np.int8), [lost, gained, total - lost - gained])
    random = np.random.default_rng(6)
    orders = random.permuted(np.tile(values, (1000, 1)), axis=1).reshape(1000, total // 10, 10)
    steps = [(orders == kind).sum(axis=2).cumsum(axis=1) for kind in (1, -1)]
    images = np.broadcast_to(10 * np.arange(1, total // 10 + 1), steps[0].shape)
    finite = looked_at(np.stack([images, *steps], axis=-1), limit, 0.9)
    endless = looked_at(
        drawn(lost / total, gained / total, images=total, batch=10, trials=1000, seed=6), limit, 0.9
    )
    assert finite.failed <= min(0.1, endless.failed + 0.01)
    assert finite.passed <= min(0.1, endless.passed + 0.01)


@pytest.mark.parametrize(
    ("lost", "gained", "verdict", "most"),
    [
        (0.0, 0.0, "PASS", 1050), (0.001, 0.001, "PASS", 1500), (0.002, 0.004, "PASS", 1600),
        (0.004, 0.004, "PASS", 3000), (0.03, 0.005, "FAIL", 1000), (0.1, 0.02, "FAIL", 250),
        (0.3, 0.01, "FAIL", 60),
    ],
)  # fmt: skip
def test_far_from_the_limit_few_images_suffice(
    lost: float, gained: float, verdict: str, most: int
) -> None:
    """Half a point at 95 %, for which the recipe of full size takes 5000 images."""
    found = looked_at(drawn(lost, gained, images=20_000, batch=50, trials=100, seed=7), 0.005, 0.95)
    assert (found.passed if verdict == "PASS" else found.failed) >= 0.99
    assert found.images < most


def test_the_interval_says_what_was_simulated() -> None:
    """Batch for batch, against the arrays of the simulations above."""
    counts = drawn(0.02, 0.01, images=2000, batch=50, trials=40, seed=8)
    expected = looked_at(counts, 0.02, 0.8)
    verdicts, images = [], 0
    for looks in counts:
        for look in looks:
            seen = Paired(*map(int, look))
            verdict = decide(anytime_interval(seen, 0.8), 0.02)
            if verdict != "UNDECIDED":
                break
        verdicts.append(verdict)
        images += seen.images
    assert verdicts.count("PASS") / 40 == expected.passed > 0
    assert verdicts.count("FAIL") / 40 == expected.failed
    assert images / 40 == expected.images
    assert verdicts.count("UNDECIDED") > 0


@given(COUNTS, CONFIDENCES)
def test_the_interval_contains_the_drop_and_turns_around(counts: Paired, confidence: float) -> None:
    lower, upper = anytime_interval(counts, confidence)
    assert -1 <= lower <= counts.drop <= upper <= 1
    assert lower < upper
    turned = anytime_interval(Paired(counts.images, counts.gained, counts.lost), confidence)
    assert turned == (-upper, -lower)


@given(COUNTS, CONFIDENCES, st.floats(1e-6, 0.2))
def test_the_ends_are_where_the_capital_suffices(
    counts: Paired, confidence: float, away: float
) -> None:
    lower, upper = anytime_interval(counts, confidence)
    enough = -math.log(1 - confidence)
    if upper < 1 - 1e-6:
        further = min(upper + away, 1 - 1e-7)
        assert log_capital(counts.images, counts.lost, counts.gained, further) >= enough - 1e-9
        nearer = max(upper - away, -1 + 1e-7)
        assert log_capital(counts.images, counts.lost, counts.gained, nearer) <= enough + 1e-9
    if lower > -1 + 1e-6:
        further = min(-lower + away, 1 - 1e-7)
        assert log_capital(counts.images, counts.gained, counts.lost, further) >= enough - 1e-9


@given(COUNTS, CONFIDENCES, CONFIDENCES)
def test_more_confidence_is_wider(counts: Paired, one: float, other: float) -> None:
    less, more = sorted((one, other))
    inner, outer = anytime_interval(counts, less), anytime_interval(counts, more)
    assert outer[0] <= inner[0] + 1e-9 and inner[1] <= outer[1] + 1e-9


@given(COUNTS, st.floats(0.6, 0.99))
def test_looking_often_costs_width(counts: Paired, confidence: float) -> None:
    inner, outer = gate.drop_interval(counts, confidence), anytime_interval(counts, confidence)
    assert outer[1] - outer[0] >= inner[1] - inner[0]


@given(st.floats(1e-5, 0.2), CONFIDENCES)
def test_the_least_number_of_images(limit: float, confidence: float) -> None:
    images = least_images(limit, confidence)
    assert images is not None
    enough = -math.log(1 - confidence)
    assert log_capital(images, 0, 0, limit) >= enough - 1e-9
    assert log_capital(images - 1, 0, 0, limit) <= enough + 1e-9
    assert attainable(images, limit, confidence)
    assert not attainable(images - 1, limit, confidence)
    # A number that is fixed beforehand is never more than this, but for extreme confidences.
    fixed = gate.least_images(limit, confidence)
    assert fixed is not None
    assert confidence > 0.99 or fixed <= images


def test_no_number_of_images_proves_that_nothing_is_lost() -> None:
    assert least_images(0.0, 0.95) is None
    assert not attainable(10**9, 0.0, 0.95)


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.001])
@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(60, 0, 0), (60, 1, 0), (600, 6, 2), (600, 1, 1), (600, 30, 8), (5000, 40, 20), (2000, 5, 30)],
)
def test_the_number_of_images_that_would_decide(
    images: int, lost: int, gained: int, limit: float
) -> None:
    counts = Paired(images, lost, gained)
    needed = images_needed(counts, limit, 0.95)
    if decide(anytime_interval(counts, 0.95), limit) != "UNDECIDED" or needed is None:
        return
    assert needed > images

    def decided(number: float) -> bool:
        ours, theirs = lost * number / images, gained * number / images
        capital = [
            log_capital(number, ours, theirs, limit), log_capital(number, theirs, ours, -limit)
        ]  # fmt: skip
        return max(map(float, capital)) >= math.log(20)

    assert decided(needed)
    # Rates of next to nothing are not believed, so it may be more than these rates ask for.
    if lost + gained > 30:
        assert not decided(0.9 * needed)


def test_no_number_of_images_decides_at_the_limit_itself() -> None:
    assert images_needed(Paired(1000, 5, 0), 0.005, 0.95) is None
    assert images_needed(Paired(1000, 0, 0), 0.0, 0.95) is None
