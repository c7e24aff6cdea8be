"""The arithmetic of integers: scales, zero points, rounding. Pure functions on arrays.

`real = scale * (q - zero_point)`, as in Jacob et al., "Quantization and training of neural
networks for efficient integer-arithmetic-only inference" (arXiv 1712.05877, equation 1) and the
TFLite 8-bit quantization specification. Scales are float32 values, because that is what every
rendering stores; rounding is half to even, as ONNX's QuantizeLinear rounds.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64] | NDArray[np.float32]
TypeName = Literal["uint8", "int8", "int16", "int32"]


@dataclass(frozen=True)
class IntegerType:
    """An integer type and the part of it that quantized values use."""

    name: TypeName
    minimum: int
    maximum: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(self.name)


UINT8 = IntegerType("uint8", 0, 255)
INT8 = IntegerType("int8", -128, 127)
INT8_SYMMETRIC = IntegerType("int8", -127, 127)
"""int8 weights leave -128 unused, so that the range is symmetric (TFLite specification)."""
INT16 = IntegerType("int16", -32768, 32767)

TINY_SCALE = float(np.finfo(np.float32).tiny)


def as_scale(value: float) -> float:
    """The float32 next to `value`, never zero or subnormal, as a Python float."""
    return max(float(np.float32(value)), TINY_SCALE)


def asymmetric(minimum: float, maximum: float, type: IntegerType) -> tuple[float, int]:
    """Scale and zero point that cover `[minimum, maximum]`, widened to contain 0.

    Zero is exactly representable, because zero padding has to be; so either end may move by up to
    half a step. A range of no width gets scale 1.
    """
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    if low == high:
        return 1.0, type.minimum if type.minimum == 0 else 0
    scale = as_scale((high - low) / (type.maximum - type.minimum))
    zero_point = round(type.minimum - low / scale)
    return scale, min(max(zero_point, type.minimum), type.maximum)


def symmetric(magnitude: Array, type: IntegerType) -> NDArray[np.float64]:
    """Scales for magnitudes `[K]` with zero point 0. A magnitude of 0 gets scale 1."""
    scales = np.asarray(magnitude, np.float64) / type.maximum
    scales = np.maximum(scales.astype(np.float32), np.float32(TINY_SCALE)).astype(np.float64)
    return np.where(np.asarray(magnitude) == 0, 1.0, scales)


def power_of_two(magnitude: Array, type: IntegerType) -> NDArray[np.float64]:
    """The least powers of two as scales whose integers cover magnitudes `[K]`, zero point 0.

    SyNAP's `dynamic_fixed_point`: `scale = 2**-fl` with the fractional length `fl`. A magnitude of
    0 gets scale 1.
    """
    values = np.asarray(magnitude, np.float64)
    safe = np.where(values > 0, values, type.maximum)
    # Below 2**-126 a float32 scale would be subnormal.
    return np.asarray(np.exp2(np.maximum(np.ceil(np.log2(safe / type.maximum)), -126.0)))


def along(values: NDArray[np.float64], axis: int | None, ndim: int) -> NDArray[np.float64]:
    """Reshape per-channel values `[K]` (or `[1]`) so that they broadcast along `axis`."""
    if axis is None:
        return values.reshape(())
    shape = [1] * ndim
    shape[axis] = -1
    return values.reshape(shape)


def quantize(
    real: Array,
    scale: NDArray[np.float64],
    zero_point: NDArray[np.float64],
    type: IntegerType,
) -> NDArray[np.float64]:
    """`saturate(round(real / scale) + zero_point)`, as integral float64; arguments broadcast."""
    steps = np.rint(np.asarray(real, np.float64) / scale) + zero_point
    return np.clip(steps, type.minimum, type.maximum)


def dequantize(
    quantized: NDArray[np.float64],
    scale: NDArray[np.float64],
    zero_point: NDArray[np.float64],
) -> NDArray[np.float64]:
    """`scale * (q - zero_point)`; arguments broadcast."""
    return (quantized - zero_point) * scale
