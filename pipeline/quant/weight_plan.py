"""The integers of one layer's weights and bias.

The bias is int32 at the scale of the input times that of the weights, which TFLite and integer
hardware impose; where it would not fit, the weights' scale is raised until it does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.layers import Layer
from pipeline.quant.plan import BiasPlan, TensorPlan, weight_type
from pipeline.quant.weight_scale import scale_weights
from pipeline.recipe import DataType, Quantize, Scheme

LARGEST_BIAS = 2**30
"""int32 biases stay below this, so that adding up products cannot overflow the accumulator."""

Float = NDArray[np.float64]


@dataclass(frozen=True)
class WeightScales:
    """The integers of a layer's weights before its bias has a say: they depend on the weights
    alone, so that candidates which differ in ranges share them."""

    data_type: DataType
    scheme: Scheme
    axis: int | None
    scales: Float
    zero_points: NDArray[np.int64]


def find_scales(layer: Layer, options: Quantize) -> WeightScales:
    """The scales of a layer's weights, by its own type or the recipe's."""
    own = options.layers.get(layer.node)
    data_type: DataType = "int16" if own == "int16" else options.data_type
    scheme: Scheme = "dynamic_fixed_point" if own == "int16" else options.scheme
    axis = layer.axis if scheme == "perchannel_symmetric_affine" else None
    scales, zeros = scale_weights(
        layer.weight, axis, weight_type(data_type), scheme, options.weights
    )
    return WeightScales(data_type, scheme, axis, scales, zeros)


def plan_weights(
    layer: Layer, found: WeightScales, source_scale: float | None, offset: float, options: Quantize
) -> tuple[TensorPlan, BiasPlan | None]:
    """Plan a layer whose input has this scale (None: it is float, and so is the bias then).

    `offset` is what every input value lacks on its grid of integers; the bias makes up for it.
    """
    scales = found.scales
    correction = offset * layer.channel_sums
    raised = scales
    if source_scale is not None:
        raised = _raise(scales, layer.bias + correction, source_scale, found.scheme)
    tensor = TensorPlan(
        data_type=found.data_type,
        scale=tuple(float(scale) for scale in raised),
        zero_point=tuple(int(zero) for zero in found.zero_points),
        axis=found.axis,
        source=options.weights
        if np.array_equal(raised, scales)
        else f"{options.weights}, raised for the bias",
    )
    if source_scale is None or not layer.takes_bias:
        return tensor, None
    bias = BiasPlan(
        scale=tuple(float(source_scale * scale) for scale in raised),
        correction=tuple(correction.tolist()) if offset else None,
        source="input offset" if offset else "",
    )
    return tensor, bias


def _raise(scales: Float, bias: Float, source_scale: float, scheme: Scheme) -> Float:
    """The scales, as float32 values, raised where a bias `[K]` would exceed `LARGEST_BIAS`."""
    needed = np.abs(bias) / (source_scale * LARGEST_BIAS)
    if len(scales) == 1:
        needed = needed.max(initial=0.0, keepdims=True)
    if scheme == "dynamic_fixed_point":
        needed = np.exp2(np.ceil(np.log2(np.maximum(needed, 2.0**-126))))
    above = np.nextafter(needed.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    if scheme == "dynamic_fixed_point":
        above = needed
    return np.where(needed > scales, above, scales).astype(np.float32).astype(np.float64)
