"""What the runtime on the board makes of an image's bytes when it assigns them to the input.

Read in the sources of SyNAP's runtime (`normalize_quantize` and the defaults that its metadata
reader fills in). The input's meta gives `mean` (in bytes), `scale` and a quantization; a model
means `((byte - mean) / scale) / quantization_scale + zero_point`, but for an integer tensor the
runtime cuts means down to integers, cuts after it added a half (so results below zero are rounded
up), and leaves the scales out where their product is nearly 1. Tables of what becomes of every byte
say all of that at once: `table[channel, byte]`.

Dynamic fixed point and float16 inputs are not described here.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pipeline.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.uint8] | NDArray[np.int8]

CHANNELS = 3
_NEARLY_ONE = 1 / 256
_LARGEST = (2 - 2**-23) * 2.0**127


def integer_table(
    data_type: Literal["uint8", "int8"],
    quantization_scale: float,
    zero_point: int,
    means: Sequence[float] = (),
    scale: float = 0.0,
) -> "Integers":
    """The integers `[3, 256]` that an asymmetric affine tensor of that type gets.

    Without means the runtime takes the zero point, without a scale (or with 0) the reciprocal of
    the quantization's, so that uint8 bytes are copied. Raises StageError for what it cannot do.
    """
    import numpy as np

    _require_finite(*means, scale, quantization_scale)
    step = np.float32(quantization_scale or 1)
    with np.errstate(all="ignore"):  # what overflows is refused just below
        factor = (np.float32(scale) if scale else np.float32(1) / step) * step
    if not np.isfinite(factor) or factor == 0:
        raise StageError(
            f"scale {scale} by quantization scale {quantization_scale} is no float32 number"
        )
    mean = np.array(means or (zero_point,), np.float32)
    byte = np.arange(256)
    zero = np.float32(zero_point)
    shared = _is_shared(mean)
    channel_means = np.repeat(np.trunc(mean[:1]), CHANNELS) if shared else mean
    limits = np.iinfo(data_type)
    if abs(float(factor) - 1) < _NEARLY_ONE:
        # Not the difference of the integers: 127.5 and a zero point of 128 cancel out.
        bias = np.trunc(channel_means - zero).astype(np.int64)
        if shared and not bias.any():
            # Copied as they are: here alone bytes from 128 on become negative in an int8 tensor.
            copied: Integers = np.tile(byte.astype(np.uint8).view(data_type), (CHANNELS, 1))
            return copied
        values = byte - bias[:, None]
    else:
        real = (byte - np.trunc(channel_means)[:, None]).astype(np.float32) / factor + zero
        values = np.trunc(np.clip(real.astype(np.float64) + 0.5, -(2.0**31), 2.0**31 - 1))
    table: Integers = np.clip(values, limits.min, limits.max).astype(data_type)
    return table


def float_table(means: Sequence[float] = (), scale: float = 0.0) -> "NDArray[np.float32]":
    """The numbers `float32 [3, 256]` that a float32 tensor gets: `(byte - mean) / scale`.

    The means stay whole here, unless all of them are between -1 and 1: then the runtime takes them
    for zeros. A scale of 0 stands for 1. Raises StageError for what the runtime cannot do.
    """
    import numpy as np

    _require_finite(*means, scale)
    mean = np.array(means or (0,), np.float32)
    divisor = np.float32(scale or 1)
    if divisor == 0:
        raise StageError(f"scale {scale} is no float32 number but 0")
    _require_count(len(mean))
    if not np.trunc(mean).any():
        mean = np.zeros(CHANNELS, np.float32)
    elif len(mean) == 1:
        raise _one_mean()
    byte = np.arange(256, dtype=np.float32)
    table: NDArray[np.float32] = (byte - mean[:, None]) / divisor
    return table


def _is_shared(mean: "NDArray[np.float32]") -> bool:
    """Whether the runtime takes the first mean for all channels. It compares every mean, cut, with
    the first one as it is, so means that are equal fractions count as different ones."""
    import numpy as np

    _require_count(len(mean))
    cut = np.trunc(mean)
    shared = not cut.any() or bool((cut == mean[0]).all())
    if len(mean) == 1 and not shared:
        raise _one_mean()
    return shared


def _require_count(count: int) -> None:
    if count not in (1, CHANNELS):
        raise StageError(f"{count} means for {CHANNELS} channels: the runtime refuses the image")


def _one_mean() -> StageError:
    return StageError(
        "one mean for all channels makes the runtime read beyond its list",
        hint=f"write the mean {CHANNELS} times",
    )


def _require_finite(*numbers: float) -> None:
    if not all(math.isfinite(number) and abs(number) <= _LARGEST for number in numbers):
        raise StageError(f"means and scales have to be finite in float32, not {list(numbers)}")
