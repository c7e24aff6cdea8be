"""Metrics against scikit-learn, numpy and values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from pipeline.check.metrics import (
    agreement,
    flip_rate,
    in_top,
    kl_divergence,
    max_abs_error,
    sqnr_db,
)


def drawn(
    seed: int, images: int = 200, classes: int = 12
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(images, classes)).astype(np.float32)
    return logits, random.integers(0, classes, images)


@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_top_k_is_that_of_scikit_learn(k: int) -> None:
    for seed in range(5):
        logits, labels = drawn(seed)
        expected = top_k_accuracy_score(labels, logits, k=k, labels=np.arange(12))
        assert in_top(logits, labels, k).mean() == pytest.approx(expected, abs=1e-12)


def test_top_1_is_argmax() -> None:
    logits, labels = drawn(7)
    expected = accuracy_score(labels, logits.argmax(1))
    assert in_top(logits, labels, 1).mean() == pytest.approx(expected, abs=1e-12)


def test_fewer_classes_than_k() -> None:
    logits, labels = drawn(1, classes=3)
    assert in_top(logits, labels, 5).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_ties_are_ordered_by_class(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.integers(0, 3, (20, 6)).astype(np.float32)  # mostly ties
    labels = random.integers(0, 6, 20)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(in_top(logits, labels, k), (order == labels[:, None]).any(1))


def test_a_collapsed_model_gains_nothing_from_ties() -> None:
    labels = np.arange(10)
    assert in_top(np.zeros((10, 10), np.float32), labels, 1).mean() == 0.1
    assert in_top(np.zeros((10, 10), np.float32), labels, 5).mean() == 0.5


@pytest.mark.parametrize("k", [1, 5])
def test_a_broken_model_is_not_right(k: int) -> None:
    # Every comparison with NaN is false, so a careless rank of NaN is the first.
    logits, labels = np.full((10, 10), np.nan, np.float32), np.arange(10)
    assert not in_top(logits, labels, k).any()
    logits, labels = drawn(3)
    expected = in_top(logits, labels, k)
    logits[::2, 0] = np.nan
    logits[1::4, 1] = np.inf
    logits[3::4, 2] = -np.inf
    got = in_top(logits, labels, k)
    assert not got[::2].any()
    assert not got[1::4].any() and not got[3::4].any()
    assert expected.any()


def test_agreement() -> None:
    one = np.array([[1, 2], [2, 1], [3, 0], [0, 3]], np.float32)
    other = np.array([[0, 9], [1, 2], [1, 0], [0, 1]], np.float32)
    assert agreement(one, other) == 0.75
    assert agreement(one, one) == 1.0


def test_broken_models_agree_on_nothing() -> None:
    broken = np.full((4, 3), np.nan, np.float32)
    whole = np.zeros((4, 3), np.float32)
    assert agreement(broken, broken) == 0.0
    assert agreement(broken, whole) == 0.0
    assert agreement(whole, broken) == 0.0
    half = whole.copy()
    half[:2] = np.nan
    assert agreement(half, whole) == 0.5


def test_largest_error() -> None:
    one = np.array([[1.0, -2.0]], np.float32)
    assert max_abs_error(one, np.array([[1.5, -5.0]], np.float32)) == 3.0
    assert max_abs_error(one, one) == 0.0
    assert math.isnan(max_abs_error(one, np.array([[np.nan, 0.0]], np.float32)))


def test_largest_error_is_not_rounded_to_float32() -> None:
    one, other = np.array([[1e8]], np.float32), np.array([[1.0]], np.float32)
    assert max_abs_error(one, other) == 99_999_999.0


def test_sqnr() -> None:
    reference = np.array([[3.0, 4.0]], np.float32)  # signal 25
    noisy = np.array([[3.0, 4.5]], np.float32)  # noise 0.25: a hundredth
    assert sqnr_db(noisy, reference) == pytest.approx(20.0, abs=1e-9)
    assert sqnr_db(2 * noisy, 2 * reference) == pytest.approx(20.0, abs=1e-9)
    assert sqnr_db(reference, reference) == math.inf
    assert sqnr_db(noisy, np.zeros((1, 2), np.float32)) == -math.inf


def test_sqnr_of_quantization_noise() -> None:
    # A uniform error of +-step/2 has power step²/12.
    random = np.random.default_rng(0)
    reference = random.normal(size=(100, 1000)).astype(np.float32)
    step = 0.01
    rounded = (np.round(reference / step) * step).astype(np.float32)
    expected = 10 * math.log10(12 / step**2)
    assert sqnr_db(rounded, reference) == pytest.approx(expected, abs=0.1)


def test_kl_divergence_against_scipy() -> None:
    from scipy.special import softmax
    from scipy.stats import entropy

    random = np.random.default_rng(0)
    reference = random.normal(size=(20, 7)).astype(np.float32)
    logits = (reference + random.normal(size=(20, 7))).astype(np.float32)
    p, q = softmax(reference.astype(np.float64), axis=1), softmax(logits.astype(np.float64), axis=1)
    expected = float(np.mean(entropy(p, q, axis=1)))
    assert kl_divergence(logits, reference) == pytest.approx(expected, rel=1e-6)
    assert kl_divergence(reference, reference) == pytest.approx(0.0, abs=1e-12)
    # A constant added to an image's logits does not change its distribution.
    assert kl_divergence(logits + 3, reference - 5) == pytest.approx(expected, rel=1e-4)
    # A model that ends with a softmax says the same.
    ended = kl_divergence(q.astype(np.float32), p.astype(np.float32))
    assert ended == pytest.approx(expected, rel=1e-4)
    logits[3, 2] = np.nan
    assert math.isnan(kl_divergence(logits, reference))


def test_flips_are_predictions_that_change() -> None:
    reference = np.eye(4, dtype=np.float32)
    logits = reference.copy()
    logits[1] = [1, 0, 0, 0]
    assert flip_rate(logits, reference) == 0.25
    assert flip_rate(reference, reference) == 0.0


def test_kl_divergence_of_probabilities() -> None:
    """A Softmax that stayed: in steps of 1/256 the small ones are lost, and the rest is no longer 1
    in all. They are probabilities nevertheless."""
    from scipy.special import softmax
    from scipy.stats import entropy

    random = np.random.default_rng(0)
    classes = 400  # a flat picture: most are below half a step
    reference = softmax(random.normal(size=(6, classes)), axis=1).astype(np.float32)
    quantized = (np.round(reference * 256) / 256).astype(np.float32)
    assert quantized.sum(axis=1).max() < 0.9
    tiny = np.finfo(np.float32).tiny
    p, q = reference.astype(np.float64), np.maximum(quantized.astype(np.float64), tiny)
    expected = float(np.mean(entropy(p, q, axis=1)))  # which normalizes both
    assert kl_divergence(quantized, reference) == pytest.approx(expected, rel=1e-6)


def test_kl_divergence_of_logits_that_look_like_probabilities() -> None:
    """What the reference gives decides: outputs that happen to add up to 1 are logits beside logits."""
    from scipy.special import softmax
    from scipy.stats import entropy

    reference = np.array([[0.3, 0.9, -0.1], [2.0, 0.0, 1.0]], np.float32)
    logits = np.array([[0.2, 0.8, 0.0], [0.9, 0.0, 0.1]], np.float32)
    p, q = softmax(reference.astype(np.float64), axis=1), softmax(logits.astype(np.float64), axis=1)
    expected = float(np.mean(entropy(p, q, axis=1)))
    assert kl_divergence(logits, reference) == pytest.approx(expected, rel=1e-6)
