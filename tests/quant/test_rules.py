import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.quant.histogram import Histogram
from pipeline.quant.noise import density, squared_error
from pipeline.quant.rules import RULES, choose_range
from pipeline.quant.scheme import INT8, UINT8, IntegerType, asymmetric, dequantize, quantize
from pipeline.recipe import Ranges


def seen_of(values: np.ndarray, images: int = 4) -> Histogram:
    seen = Histogram()
    for part in np.array_split(values.astype(np.float32), images):
        seen.add(part, part.min(keepdims=True), part.max(keepdims=True))
    return seen


def real_error(values: np.ndarray, low: float, high: float, type: IntegerType) -> float:
    """The squared error measured on the values themselves."""
    scale, zero_point = asymmetric(low, high, type)
    s, z = np.array(scale), np.array(float(zero_point))
    return float(np.sum((dequantize(quantize(values, s, z, type), s, z) - values) ** 2))


HEAVY = np.concatenate(
    [np.random.default_rng(1).exponential(1.0, 200_000), np.array([400.0, 350.0])]
)
BOTH_SIGNS = np.random.default_rng(2).standard_t(3, 200_000)


@pytest.mark.parametrize("values", [HEAVY, BOTH_SIGNS], ids=["one-sided", "two-sided"])
@pytest.mark.parametrize("type", [UINT8, INT8], ids=["uint8", "int8"])
def test_error_from_the_histogram_is_the_real_one(values: np.ndarray, type: IntegerType) -> None:
    seen = seen_of(values)
    edges, counts = density(seen)
    for part in (1.0, 0.5, 0.1, 0.03):
        low, high = part * min(seen.minimum, 0.0), part * seen.maximum
        expected = real_error(values, low, high, type)
        assert squared_error(edges, counts, low, high, type) == pytest.approx(expected, rel=0.1)


def test_exact_zeros_cost_nothing() -> None:
    values = np.concatenate([np.zeros(10_000), np.linspace(0.1, 100, 50)])
    edges, counts = density(seen_of(values))
    assert counts.sum() == 50
    assert squared_error(edges, counts, 0, 100, UINT8) == pytest.approx(
        real_error(values, 0, 100, UINT8), rel=0.5
    )


@pytest.mark.parametrize("values", [HEAVY, BOTH_SIGNS], ids=["one-sided", "two-sided"])
def test_mse_is_about_the_best_that_any_range_can_do(values: np.ndarray) -> None:
    seen = seen_of(values)
    chosen = real_error(values, *RULES["mse"](seen, Ranges(), UINT8), UINT8)
    grid = np.geomspace(0.01, 1, 25)
    lows = grid * seen.minimum if seen.minimum < 0 else [0.0]
    best = min(real_error(values, low, f * seen.maximum, UINT8) for low in lows for f in grid)
    assert chosen <= 1.05 * best
    assert chosen < 0.9 * real_error(values, seen.minimum, seen.maximum, UINT8)


@given(st.floats(90, 100), st.integers(0, 5))
@settings(max_examples=40)
def test_percentile_is_numpys_to_a_bin(percent: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.3, 2, 20_000).astype(np.float32)
    seen = seen_of(values)
    low, high = RULES["percentile"](seen, Ranges(rule="percentile", percentile=percent), UINT8)
    exact = np.percentile(values, percent, method="inverted_cdf")
    assert exact <= high + 1e-6 <= exact + seen.width + 2e-6
    exact = -np.percentile(-values, percent, method="inverted_cdf")
    assert exact - seen.width - 1e-6 <= low <= exact + 1e-6


def test_hundred_percent_is_everything() -> None:
    seen = seen_of(BOTH_SIGNS)
    chosen = RULES["percentile"](seen, Ranges(rule="percentile", percentile=100), UINT8)
    assert chosen == (seen.minimum, seen.maximum)


def test_entropy_cuts_a_heavy_tail_and_leaves_a_flat_distribution() -> None:
    seen = seen_of(HEAVY)
    low, high = RULES["entropy"](seen, Ranges(), UINT8)
    assert low == seen.minimum
    assert 5 < high < 100
    flat = seen_of(np.random.default_rng(3).uniform(0, 10, 200_000))
    assert RULES["entropy"](flat, Ranges(), UINT8)[1] > 9.5


def test_entropy_of_both_signs_is_cut_at_equal_magnitudes() -> None:
    values = np.concatenate([BOTH_SIGNS, [500.0, -500.0]])
    low, high = RULES["entropy"](seen_of(values), Ranges(), INT8)
    assert low == -high
    assert 3 < high < 100


def test_moving_average_softens_one_bright_image() -> None:
    values = np.tile(np.linspace(0, 1, 100), 20)
    values[150] = 50.0
    low, high = RULES["moving_average"](seen_of(values, 20), Ranges(), UINT8)
    assert low == 0
    assert 1 < high < 8


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize(
    "values",
    [
        np.zeros(10),
        np.full(10, 3.0),
        np.full(10, -2.0),
        np.array([1e-30, 2e-30]),
        np.array([-1.0, 1]),
    ],
    ids=["zeros", "constant", "negative", "tiny", "two"],
)
def test_every_rule_survives_odd_tensors(rule: str, values: np.ndarray) -> None:
    seen = seen_of(values, images=1)
    low, high = choose_range(seen, Ranges(rule=rule), UINT8)  # type: ignore[arg-type]
    assert np.isfinite([low, high]).all()
    assert low <= high
    scale, zero_point = asymmetric(low, high, UINT8)
    assert scale > 0
    assert 0 <= zero_point <= 255


def test_every_rule_is_a_word_of_recipes() -> None:
    from typing import get_args

    from pipeline.quant.rules import RULES
    from pipeline.recipe.quantize import RangeRule

    assert set(RULES) == set(get_args(RangeRule))
