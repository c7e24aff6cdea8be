"""What TFLite demands of scales and zero points; a Plan that says otherwise is refused.

As the 8-bit quantization specification has it, and the kernels where they copy raw integers
without looking at scales.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.lower.lowering import NoTfliteForm
from pipeline.lower.model_file import Tensor
from pipeline.quant.make_plan import FIXED
from pipeline.quant.plan import BiasPlan, TensorPlan

if TYPE_CHECKING:
    import onnx_ir as ir

BIAS_TOLERANCE = 1e-6
"""Relative: scales are float32 values, their products are not."""
FINEST_AVERAGE = 2
"""How many times finer than its input a mean's scale can be: it is rounded to the input's first, by
half a step, which is less than one of the result's then."""
FINEST_SUM = 256
FINEST_HARD_SWISH = 128
FINEST_LEAKY = 1 << 16
"""How many times finer than its input a result's scale can be: XNNPACK takes sums up to there, and
the kernels beside it overflow at some thousand; HARD_SWISH says itself where it ends; LEAKY_RELU is
right to some millions and overflows beyond."""


def require_same_scale(node: "ir.Node", source: Tensor, result: Tensor) -> None:
    """Of operators that move or average integers as they are."""
    if source.quantization != result.quantization:
        raise NoTfliteForm(
            node,
            f"TFLite does not rescale here, but the Plan has {_words(source)} before it and "
            f"{_words(result)} behind",
        )


def require_fixed_scale(node: "ir.Node", result: Tensor) -> None:
    """Of results whose range is known, for which the specification has a scale."""
    scale, zero_point = FIXED[node.op_type][result.dtype]
    quantization = result.quantization
    assert quantization is not None
    if quantization.scale != (scale,) or quantization.zero_point != (zero_point,):
        raise NoTfliteForm(
            node,
            f"TFLite has scale {scale:g} and zero point {zero_point} for its result, the Plan "
            f"{_words(result)}",
        )


def require_weights(node: "ir.Node", tensor: TensorPlan, axis: int) -> None:
    """uint8 weights have one scale; int8 ones have no zero point, and their axis is that of the
    output channels."""
    if tensor.data_type == "uint8" and tensor.axis is not None:
        raise NoTfliteForm(node, "TFLite has no uint8 weights with a scale for every channel")
    if tensor.data_type == "int8" and any(tensor.zero_point):
        raise NoTfliteForm(node, "TFLite has no int8 weights with a zero point other than 0")
    if tensor.axis not in (None, axis):
        raise NoTfliteForm(
            node,
            f"the Plan has scales along axis {tensor.axis} of its weights, TFLite along {axis}",
        )


def require_bias_scale(
    node: "ir.Node", source: TensorPlan, weights: TensorPlan, bias: BiasPlan
) -> None:
    """A bias is added to sums of products, so it has their scale."""
    expected = source.scale[0] * np.array(weights.scale)
    if len(bias.scale) != len(expected) or not np.allclose(
        bias.scale, expected, rtol=BIAS_TOLERANCE, atol=0
    ):
        raise NoTfliteForm(
            node, "the Plan's scale of its bias is not the input's times that of its weights"
        )


def require_coarse_result(
    node: "ir.Node", sources: Sequence[Tensor], result: Tensor, limit: int
) -> None:
    """One step of an input is less than `limit` steps of the result."""
    step = max(scale_of(tensor) for tensor in sources)
    if step >= limit * scale_of(result):
        raise NoTfliteForm(
            node,
            f"the Plan's steps are {scale_of(result):g} for its result and {step:g} for its input; "
            f"TFLite computes it up to {limit} times as fine",
        )


def scale_of(tensor: Tensor) -> float:
    """The only scale of an activation."""
    assert tensor.quantization is not None
    return tensor.quantization.scale[0]


def _words(tensor: Tensor) -> str:
    quantization = tensor.quantization
    assert quantization is not None
    return f"scale {quantization.scale[0]:g}, zero point {quantization.zero_point[0]}"
