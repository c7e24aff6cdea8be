"""How the model's input becomes integers: from the declared preprocessing, never from images.

The input is an 8-bit image, `x = (byte - m) / S` with `m = 255 mean` and `S = 255 std`. Where all
channels have the same mean and deviation, scale `1/S` and zero point `int(m)` make the quantized
input the image's own bytes, so that a device copies them (SyNAP's runtime truncates a fractional
mean in the same way). The integers then stand for `x' = (byte - int(m)) / S`, a constant
`x - x' = (int(m) - m) / S` away from what the Graph expects (half a step for Inception's 127.5);
the first layer's bias absorbs it, exactly but for zero padding at the picture's border.
"""

from dataclasses import dataclass

from pipeline.data.preprocess import Normalization
from pipeline.quant.plan import TYPES, TensorPlan
from pipeline.quant.scheme import as_scale, asymmetric
from pipeline.recipe import DataType


@dataclass(frozen=True)
class InputPlan:
    """The input's quantization, the normalization of the quantized model, and the constant
    `offset` that its first layer has to add to every input value."""

    tensor: TensorPlan
    normalization: Normalization
    offset: float


def plan_input(normalization: Normalization, data_type: DataType) -> InputPlan:
    """Quantize the input that this normalization produces from bytes."""
    type = TYPES[data_type]
    if len(set(normalization.mean)) == 1 and len(set(normalization.std)) == 1:
        mean, deviation = 255 * normalization.mean[0], 255 * normalization.std[0]
        whole = int(mean + 1e-6)  # 0.5 * 255 is 127.5, but 128/255 * 255 may fall just short of 128
        scale = as_scale(1 / deviation)
        tensor = TensorPlan(
            data_type=data_type,
            scale=(scale,),
            zero_point=(whole + type.minimum,),
            minimum=-whole * scale,
            maximum=(255 - whole) * scale,
            source="preprocessing: the image's own bytes",
        )
        on_grid = Normalization(mean=(whole / 255,) * 3, std=normalization.std)
        return InputPlan(tensor, on_grid, (whole - mean) / deviation)
    ends = [
        (byte / 255 - mean) / deviation
        for mean, deviation in zip(normalization.mean, normalization.std, strict=True)
        for byte in (0, 255)
    ]
    scale, zero_point = asymmetric(min(ends), max(ends), type)
    tensor = TensorPlan(
        data_type=data_type,
        scale=(scale,),
        zero_point=(zero_point,),
        minimum=min(ends),
        maximum=max(ends),
        source="preprocessing: all values an 8-bit image can have",
    )
    return InputPlan(tensor, normalization, 0.0)
