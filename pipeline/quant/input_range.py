"""How the model's input becomes integers: from the declared preprocessing, never from images.

The input is an 8-bit image, `x = (byte - m) / S` with `m = 255 mean` and `S = 255 std`. Where all
channels have the same mean and deviation, scale `1/S` and zero point `int(m)` make the quantized
input the image's own bytes, so that a device copies them (SyNAP's runtime truncates a fractional
mean in the same way). The integers then stand for `x' = (byte - int(m)) / S`, a constant
`x - x' = (int(m) - m) / S` away from what the Graph expects (half a step for Inception's 127.5);
the first layer's bias absorbs it, exactly but for zero padding at the picture's border.

Where there is no bias to absorb it, the mean stays fractional, and the grid is just so much wider
than the bytes' that its zero point can be a whole number: on the bytes' own grid every byte would
lie half way between two integers. Fixed point has no zero point, and so no grid of bytes.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.data.preprocess import Normalization
from pipeline.quant.plan import TYPES, TensorPlan
from pipeline.quant.scheme import as_scale, asymmetric, power_of_two
from pipeline.recipe import DataType, Scheme


@dataclass(frozen=True)
class InputPlan:
    """The input's quantization, the normalization of the quantized model, and the constant
    `offset` that its first layer has to add to every input value."""

    tensor: TensorPlan
    normalization: Normalization
    offset: float


def plan_input(
    normalization: Normalization, data_type: DataType, scheme: Scheme, *, absorbs: bool
) -> InputPlan:
    """Quantize the input that this normalization produces from bytes.

    `absorbs`: whether biases can add an offset to every value that is read of it.
    """
    type = TYPES[data_type]
    ends = [
        (byte / 255 - mean) / deviation
        for mean, deviation in zip(normalization.mean, normalization.std, strict=True)
        for byte in (0, 255)
    ]
    low, high = min(ends), max(ends)
    own = normalization
    offset = 0.0
    source = "preprocessing: all values an 8-bit image can have"
    if scheme == "dynamic_fixed_point":
        scale, zero_point = float(power_of_two(np.array([max(-low, high)]), type)[0]), 0
    elif len(set(normalization.mean)) == 1 and len(set(normalization.std)) == 1:
        mean, deviation = 255 * normalization.mean[0], 255 * normalization.std[0]
        whole = int(mean + 1e-6)  # 0.5 * 255 is 127.5, but 128/255 * 255 may fall just short of 128
        if (absorbs or abs(whole - mean) < 1e-6) and 0 <= whole <= 255:
            scale = as_scale(1 / deviation)
            low, high = -whole * scale, (255 - whole) * scale
            own = Normalization(mean=(whole / 255,) * 3, std=normalization.std)
            offset = (whole - mean) / deviation
            source = "preprocessing: the image's own bytes"
        else:
            whole = min(max(whole, 1), 254)
            scale = as_scale(max(mean / whole, (255 - mean) / (255 - whole)) / deviation)
        zero_point = whole + type.minimum
    else:
        scale, zero_point = asymmetric(low, high, type)
    tensor = TensorPlan(
        data_type=data_type,
        scale=(scale,),
        zero_point=(zero_point,),
        minimum=low,
        maximum=high,
        source=source,
    )
    return InputPlan(tensor, own, offset)
