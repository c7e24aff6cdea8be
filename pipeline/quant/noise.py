"""The mean squared error that a range costs a tensor, from its histogram, in closed form.

Values are taken as uniform within a bin. With `t = x / scale` the rounding error integrates to
`R(t) = round(t) / 12 + (t - round(t))**3 / 3`, and a clipped value errs by its distance to the
end; exact zeros are exact in integers too. So no value of the tensor is touched again, and no
approximation by `scale**2 / 12` is needed where steps are wider than what they hold.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.histogram import Histogram
from pipeline.quant.scheme import IntegerType, asymmetric

Float = NDArray[np.float64]


def density(seen: Histogram) -> tuple[Float, Float]:
    """Edges `[n + 1]` of the occupied part and counts `[n]` without the exact zeros."""
    occupied = np.flatnonzero(seen.counts)
    if not len(occupied):
        return np.zeros(1), np.zeros(0)
    start, stop = int(occupied[0]), int(occupied[-1]) + 1
    counts = seen.counts[start:stop].astype(np.float64)
    zero = -seen.first - start
    if 0 <= zero < len(counts):
        counts[zero] -= seen.zeros
    return seen.edges()[start : stop + 1], counts


def rounding_integral(t: Float) -> Float:
    """`R(t)`: the integral of `(u - round(u))**2` from 0 to `t`."""
    whole = np.rint(t)
    return np.asarray(whole / 12 + _cube(t - whole) / 3)


def _cube(x: Float) -> Float:
    """`x**3` without numpy's general power, which takes ten times as long."""
    return x * x * x


def squared_error(
    edges: Float, counts: Float, minimum: float, maximum: float, type: IntegerType
) -> float:
    """Sum of squared errors of the counted values, quantized to the range `[minimum, maximum]`."""
    scale, zero_point = asymmetric(minimum, maximum, type)
    low = (type.minimum - zero_point) * scale
    high = (type.maximum - zero_point) * scale
    # Every bin falls into a part below the range, one inside, and one above; cut at both ends.
    inside = np.clip(edges, low, high)
    rounded = scale**3 * np.diff(rounding_integral(inside / scale))
    below = np.diff(-_cube(low - np.minimum(edges, low)) / 3)
    above = np.diff(_cube(np.maximum(edges, high) - high) / 3)
    widths = np.diff(edges)
    return float(np.sum(counts * (rounded + below + above) / widths))
