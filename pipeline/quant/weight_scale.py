"""Scales of weights: the whole range, or the range with the least squared error."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.histogram import Histogram
from pipeline.quant.noise import density, squared_error
from pipeline.quant.rules import mse
from pipeline.quant.scheme import IntegerType, asymmetric, power_of_two, symmetric
from pipeline.recipe import Ranges, Scheme

Rule = Literal["minmax", "mse"]
Float = NDArray[np.float64]

FRACTIONS = np.linspace(1.0, 0.4, 25)
"""Parts of the largest magnitude that `mse` tries for a channel."""
_CHUNK = 1 << 18  # values worked on at a time, so that they stay in the processor's cache


def scale_weights(
    weight: NDArray[np.float32], axis: int | None, type: IntegerType, scheme: Scheme, rule: Rule
) -> tuple[Float, NDArray[np.int64]]:
    """Scales and zero points: `[K]` along `axis`, or `[1]` for the tensor where it is None."""
    if axis is not None:
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
        magnitude = np.abs(rows).max(axis=1).astype(np.float64)
        if rule == "mse":
            magnitude *= best_fractions(rows, magnitude, type)
        scales = symmetric(magnitude, type)
        return scales, np.zeros(len(scales), np.int64)
    low, high = float(min(weight.min(), 0.0)), float(max(weight.max(), 0.0))
    covering = _whole_tensor((low, high), type, scheme)
    if rule == "minmax":
        return covering
    seen = _histogram(weight)
    if scheme == "asymmetric_affine" and type.minimum == 0:
        least = _whole_tensor(mse(seen, Ranges(), type), type, scheme)
    elif scheme == "dynamic_fixed_point":
        scale = _best_power(seen, float(covering[0][0]), type)
        least = np.array([scale]), np.zeros(1, np.int64)
    else:
        limit = _best_magnitude(seen, max(-low, high), type)
        least = _whole_tensor((-limit, limit), type, scheme)
    # The histogram is exact for many weights; for few, what covers them all may still be better.
    return min(covering, least, key=lambda it: _squared_error(weight, it[0], it[1], type))


def _whole_tensor(
    range: tuple[float, float], type: IntegerType, scheme: Scheme
) -> tuple[Float, NDArray[np.int64]]:
    """One scale and zero point for a range."""
    low, high = range
    if scheme == "asymmetric_affine" and type.minimum == 0:
        scale, zero_point = asymmetric(low, high, type)
        return np.array([scale]), np.array([zero_point])
    largest = np.array([max(-low, high)])
    fixed = scheme == "dynamic_fixed_point"
    scales = power_of_two(largest, type) if fixed else symmetric(largest, type)
    return scales, np.zeros(1, np.int64)


def _squared_error(
    weight: NDArray[np.float32], scale: Float, zero_point: NDArray[np.int64], type: IntegerType
) -> float:
    """Measured on the weights themselves."""
    steps = np.rint(weight.reshape(-1) / np.float32(scale[0])) + np.float32(zero_point[0])
    np.clip(steps, type.minimum, type.maximum, out=steps)
    error = (steps - np.float32(zero_point[0])) * np.float32(scale[0]) - weight.reshape(-1)
    return float(np.dot(error, error))


def best_fractions(rows: NDArray[np.float32], magnitude: Float, type: IntegerType) -> Float:
    """For every row, which of `FRACTIONS` of its magnitude `[K]` as range errs least, `[K]`.

    The squared error is computed on the weights themselves.
    """
    errors = np.zeros((len(FRACTIONS), len(rows)))
    safe = np.where(magnitude > 0, magnitude, 1.0)
    step = max(_CHUNK // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        unit = (safe[start : start + step] / type.maximum).astype(np.float32)[:, None]
        for index, fraction in enumerate(FRACTIONS):
            scale = unit * np.float32(fraction)
            steps = np.rint(part / scale)
            np.clip(steps, type.minimum, type.maximum, out=steps)
            steps *= scale
            steps -= part
            errors[index, start : start + step] = np.einsum("ij,ij->i", steps, steps)
    return np.asarray(FRACTIONS[errors.argmin(axis=0)], np.float64)


def _histogram(weight: NDArray[np.float32]) -> Histogram:
    seen = Histogram()
    flat = weight.reshape(1, -1)
    seen.add(flat[0], flat.min(axis=1), flat.max(axis=1))
    return seen


def _best_magnitude(seen: Histogram, largest: float, type: IntegerType) -> float:
    edges, counts = density(seen)
    tried = [float(fraction * largest) for fraction in FRACTIONS]
    return min(tried, key=lambda limit: squared_error(edges, counts, -limit, limit, type))


def _best_power(seen: Histogram, largest: float, type: IntegerType) -> float:
    """The largest scale or one of the next smaller powers of two."""
    edges, counts = density(seen)
    tried = [largest * 0.5**shift for shift in range(4)]

    def error(scale: float) -> float:
        limit = scale * type.maximum
        return squared_error(edges, counts, -limit, limit, type)

    return float(min(tried, key=error))
