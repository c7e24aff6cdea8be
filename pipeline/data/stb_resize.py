"""The resize of the device's runtime: `stbir_resize_uint8` of stb_image_resize 0.97, to the bit.

Mitchell's filter (B = C = 1/3) where a side shrinks or keeps its length, Catmull-Rom where it
grows; pixels beyond the edge repeat it; bytes are taken as linear. Both are the two-parameter
cubics of Mitchell and Netravali, "Reconstruction Filters in Computer Graphics", 1988. Rows are
resized first. What makes it to the bit is the arithmetic: float32 throughout, products added one
after the other from the left (the top), and weights that are normalised in that order too.

Where a product is added, the two are rounded once (a fused multiply-add), because GCC and Clang
compile it so for the boards' processors (aarch64, any optimisation). A build for a PC rounds twice
and differs by one level in about 30 of a million values. The fused step is computed in float64,
which holds the product exactly; the sum is then rounded to 53 bits before its 24, and comes out
otherwise than fused with a chance of less than 2^-29, too little to move a byte in practice.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Single = NDArray[np.float32]
    Double = NDArray[np.float64]

_BAND = 64
"""Rows that are resized at a time: a large picture as float32 would be four times its size."""
_BLOCK = 32768
"""Values that one step works on: their float64 stay in a core's own cache."""


class _Taps(NamedTuple):
    """Per pixel of the result and tap: `int64 [out, taps]` source pixels in the order they are
    added, and their weights, float32 values held as `float64 [out, taps]`."""

    source: "NDArray[np.int64]"
    weight: "Double"


def resize(pixels: "Pixels", width: int, height: int) -> "Pixels":
    """Resize `uint8 [H, W, 3]` to `uint8 [height, width, 3]`; no side may be 0.

    As in stb, a side that keeps its length goes through Mitchell's filter too, which blurs it.
    """
    import numpy as np

    rows, columns, channels = pixels.shape
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    across = _taps(columns, width)
    down = np.empty((rows, width * channels), np.float32)
    for top in range(0, rows, _BAND):
        lines = unit[pixels[top : top + _BAND].transpose(1, 0, 2)].reshape(columns, -1)
        part = _weighted_sums(lines, across).reshape(width, -1, channels)
        down[top : top + _BAND] = part.transpose(1, 0, 2).reshape(-1, width * channels)
    sums = _weighted_sums(down, _taps(rows, height)).reshape(height, width, channels)
    # The half is added in double precision, so that nothing is rounded before the truncation.
    levels = np.clip(sums, np.float32(0), np.float32(1)) * np.float32(255)
    return (levels.astype(np.float64) + 0.5).astype(np.uint8)


def _weighted_sums(lines: "Single", taps: _Taps) -> "Single":
    """`float32 [in, n]` to `float32 [out, n]`: each line a sum of weighted lines, tap after tap."""
    import numpy as np

    length = lines.shape[1]
    sums = np.zeros((len(taps.source), length), np.float32)
    step = max(1, _BLOCK // length)
    for start in range(0, len(sums), step):
        part = sums[start : start + step]
        for source, weight in zip(
            taps.source[start : start + step].T, taps.weight[start : start + step].T, strict=True
        ):
            part[...] = lines[source] * weight[:, None] + part
    return sums


@lru_cache(maxsize=256)
def _taps(before: int, after: int) -> _Taps:
    """How a side of `before` pixels becomes one of `after`."""
    import numpy as np

    scale = np.float32(after) / np.float32(before)
    source, weight = _growing(after, scale) if scale > 1 else _shrinking(before, after, scale)
    return _Taps(np.clip(source, 0, before - 1), weight.astype(np.float64))


def _growing(after: int, scale: "np.float32") -> "tuple[NDArray[np.int64], Single]":
    """Every pixel of the result gathers what lies within the filter around its centre."""
    import numpy as np

    center = _centers(np.arange(after))
    radius = np.float32(2) * scale
    first = np.floor(((center - radius) / scale).astype(np.float64) + 0.5).astype(np.int64)
    last = np.floor(((center + radius) / scale).astype(np.float64) - 0.5).astype(np.int64)
    source = first[:, None] + np.arange((last - first).max() + 1)
    weight = _catmull_rom((center / scale)[:, None] - _centers(source))
    weight[source > last[:, None]] = 0
    return source, weight * (np.float32(1) / _running_sum(weight))[:, None]


def _shrinking(before: int, after: int, scale: "np.float32") -> "tuple[NDArray[np.int64], Single]":
    """Every source pixel, also those that repeat the edges, scatters over the result around it;
    its weights are therefore normalised per pixel of the result, and read off again for it."""
    import numpy as np

    margin = int(np.ceil(np.float32(4) / scale)) // 2
    center = _centers(np.arange(-margin, before + margin))
    radius = np.float32(2) / scale
    first = np.floor(((center - radius) * scale).astype(np.float64) + 0.5).astype(np.int64)
    last = np.floor(((center + radius) * scale).astype(np.float64) - 0.5).astype(np.int64)
    # `first` and `last` ascend, so what reaches one pixel of the result is a run of the source.
    pixel = np.arange(after)
    start = np.searchsorted(last, pixel, "left")
    stop = np.searchsorted(first, pixel, "right")
    place = start[:, None] + np.arange((stop - start).max())
    within = np.minimum(place, len(center) - 1)
    weight = _mitchell(_centers(pixel)[:, None] - (center * scale)[within]) * scale
    weight[place >= stop[:, None]] = 0
    return within - margin, weight * (np.float32(1) / _running_sum(weight))[:, None]


def _centers(pixels: "NDArray[np.int64]") -> "Single":
    import numpy as np

    return pixels.astype(np.float32) + np.float32(0.5)


def _running_sum(weight: "Single") -> "Single":
    """`[n, taps]` to `[n]`, one after the other (numpy's sum adds in pairs)."""
    import numpy as np

    result: Single = np.add.accumulate(weight, axis=1)[:, -1]
    return result


def _fused(a: "Single | float", b: "Single", c: "Single | float") -> "Single":
    """`a * b + c`, rounded once."""
    import numpy as np

    return (np.float64(a) * b.astype(np.float64) + c).astype(np.float32)


def _catmull_rom(x: "Single") -> "Single":
    import numpy as np

    x = np.abs(x)
    near = _fused(-(x * x), _fused(-1.5, x, 2.5), 1)
    far = _fused(-x, _fused(x, _fused(0.5, x, -2.5), 4), 2)
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))


def _mitchell(x: "Single") -> "Single":
    import numpy as np

    x = np.abs(x)
    near = _fused(x * x, _fused(21, x, -36), 16) / np.float32(18)
    far = _fused(x, _fused(x, _fused(-7, x, 36), -60), 32) / np.float32(18)
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))
