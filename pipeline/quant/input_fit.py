"""Whether the input of a file that came quantized fits how its pictures are prepared."""

from collections.abc import Iterator

import numpy as np

from pipeline.data.preprocess import Normalization

MUCH = 0.1
"""From which part on of the pictures' values it is said that they are cut off."""
LITTLE = 0.25
"""Below which part of the input's integers it is said that pictures use no more."""


def input_range(dtype: str, scale: float, zero_point: int) -> tuple[float, float]:
    """The real numbers that the lowest and the highest integer stand for."""
    ends = np.iinfo(dtype)
    return (int(ends.min) - zero_point) * scale, (int(ends.max) - zero_point) * scale


def value_range(normalization: Normalization) -> tuple[float, float]:
    """The lowest and the highest number that a picture's bytes become."""
    values = [
        (byte - mean) / deviation
        for mean, deviation in zip(normalization.mean, normalization.std, strict=True)
        for byte in (0.0, 1.0)
    ]
    return min(values), max(values)


def misfits(
    dtype: str, scale: float, zero_point: int, normalization: Normalization
) -> Iterator[str]:
    """What speaks against this normalization."""
    low, high = input_range(dtype, scale, zero_point)
    least, most = value_range(normalization)
    ranges = (
        f"its input stands for {low:.3g} to {high:.3g}, but data.preprocess gives {least:.3g} to "
        f"{most:.3g}, so that"
    )
    if max(low - least, most - high) > MUCH * (most - least):
        yield f"{ranges} much is cut off"
    elif most - least < LITTLE * (high - low):
        yield f"{ranges} pictures use {(most - least) / (high - low):.1%} of the integers"
