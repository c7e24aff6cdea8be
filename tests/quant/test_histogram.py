import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quant.histogram import BINS, Histogram

# Multiples of a power of two, so that no value lies nearer to an edge than doubles can tell.
VALUES = st.lists(
    st.builds(
        lambda whole, power: whole * 2.0**power, st.integers(-4096, 4096), st.integers(-6, 12)
    ),
    min_size=1,
    max_size=60,
)


def fill(batches: list[np.ndarray]) -> Histogram:
    seen = Histogram()
    for batch in batches:
        seen.add(batch, batch.min(keepdims=True), batch.max(keepdims=True))
    return seen


@given(VALUES, st.integers(1, 60), st.randoms(use_true_random=False))
def test_neither_order_nor_grouping_matters(values: list[float], cut: int, random: object) -> None:
    array = np.array(values, np.float32)
    shuffled = np.random.default_rng(len(values)).permutation(array)
    whole = fill([array])
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if len(part)]
    other = fill(parts)
    single = fill([array[i : i + 1] for i in range(len(array))])
    for seen in (other, single):
        assert (seen.exponent, seen.first) == (whole.exponent, whole.first)
        assert np.array_equal(seen.counts, whole.counts)
        assert (seen.minimum, seen.maximum, seen.zeros) == (
            whole.minimum,
            whole.maximum,
            whole.zeros,
        )


@given(VALUES)
def test_every_value_is_in_the_bin_that_holds_it(values: list[float]) -> None:
    array = np.array(values, np.float32)
    seen = fill([array])
    bins = np.floor(array.astype(np.float64) / seen.width).astype(np.int64) - seen.first
    assert np.array_equal(np.bincount(bins, minlength=BINS), seen.counts)


def test_bins_survive_a_range_that_grows_a_millionfold() -> None:
    random = np.random.default_rng(3)
    batches = [(random.normal(0, 1, 500) * 10.0**k).astype(np.float32) for k in range(-2, 5)]
    seen, everything = fill(batches), np.concatenate(batches)
    assert np.array_equal(np.histogram(everything, seen.edges())[0], seen.counts)
    # The width is the least that fits: at half of it the values would need more than the bins.
    half = seen.width / 2
    assert np.floor(seen.maximum / half) - np.floor(seen.minimum / half) >= BINS


def test_exact_zeros_are_counted() -> None:
    seen = fill([np.array([0, 0, 1, 2, -0.0], np.float32)])
    assert seen.zeros == 3


def test_moving_average_follows_its_definition() -> None:
    highs = [10.0, 1.0, 1.0, 4.0]
    seen = Histogram()
    for high in highs:
        seen.add(np.array([0, high], np.float32), np.zeros(1, np.float32), np.array([high], "f4"))
    expected = highs[0]
    for high in highs[1:]:
        expected = 0.9 * expected + 0.1 * high
    assert seen.average_maximum == pytest.approx(expected)
    assert seen.average_minimum == 0.0
