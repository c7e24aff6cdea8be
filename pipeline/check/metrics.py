"""Accuracy arithmetic on logits: pure functions on arrays, no thresholds."""

import math

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def in_top(logits: Logits, labels: Labels, k: int) -> NDArray[np.bool_]:
    """Per image, whether the label is among the `k` largest logits `[N, C]`.

    Equal logits are ordered by class index, as a stable descending sort does, so that a model
    whose outputs have collapsed to one value gains nothing from ties. An image with a logit that
    is no finite number is not right.
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels][:, None]
    classes = np.arange(logits.shape[1])[None, :]
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return np.asarray((ahead.sum(axis=1) < k) & _finite(logits))


def agreement(logits: Logits, reference: Logits) -> float:
    """Fraction of images on which both predict the same class, from finite logits."""
    same = logits.argmax(axis=1) == reference.argmax(axis=1)
    return float(np.mean(same & _finite(logits) & _finite(reference)))


def flip_rate(logits: Logits, reference: Logits) -> float:
    """Fraction of images whose predicted class is another one than the reference's, right or wrong
    (Dutta et al., "Accuracy is Not All You Need", arXiv 2407.09141): what a user sees change, where
    gains and losses of accuracy cancel."""
    return 1.0 - agreement(logits, reference)


def kl_divergence(logits: Logits, reference: Logits) -> float:
    """Mean over images of the divergence of the predicted distribution from the reference's,
    `sum p log (p / q)` in nats, with `p` of the reference; NaN where a logit is no finite number.

    Where the reference's outputs are probabilities, after a softmax that stayed, both are taken for
    such: quantized ones lose all below half a step, so that they add up to less than 1, and are
    normalized anew. What is lost is then as good as impossible, and costs up to 87 nats.
    """
    if not (_finite(logits).all() and _finite(reference).all()):
        return math.nan
    to_log = _log_of_probabilities if _are_probabilities(reference) else _log_softmax
    p, q = to_log(reference), to_log(logits)
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=1)))


def _are_probabilities(outputs: Logits) -> bool:
    sums = outputs.sum(axis=1, dtype=np.float64)
    return bool((outputs >= 0).all() and np.allclose(sums, 1.0, atol=1e-2))


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(logits.astype(np.float64), axis=1))


def _log_of_probabilities(outputs: Logits) -> NDArray[np.float64]:
    """Logarithm of the outputs, divided by their sums."""
    values = np.maximum(outputs.astype(np.float64), np.finfo(np.float32).tiny)
    return np.asarray(np.log(values / values.sum(axis=1, keepdims=True)))


def _finite(logits: Logits) -> NDArray[np.bool_]:
    """Per image, whether all its logits are finite: comparisons with NaN are all false."""
    return np.asarray(np.isfinite(logits).all(axis=1))


def max_abs_error(logits: Logits, reference: Logits) -> float:
    """Largest absolute difference of any logit; NaN or infinite where there is no such number."""
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(logits.astype(np.float64) - reference)))


def sqnr_db(logits: Logits, reference: Logits) -> float:
    """Signal to quantization noise ratio, `10 log10(sum r² / sum (r - x)²)`, in dB.

    Infinite where the two are equal, minus infinite where nothing of the signal is left.
    """
    with np.errstate(invalid="ignore"):
        signal = float(np.sum(np.square(reference, dtype=np.float64)))
        noise = float(np.sum(np.square(logits.astype(np.float64) - reference)))
    if noise == 0.0:
        return math.inf
    ratio = signal / noise
    return 10.0 * math.log10(ratio) if ratio > 0.0 else -math.inf
