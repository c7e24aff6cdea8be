"""Layers with weights: Conv as CONV_2D and DEPTHWISE_CONV_2D, Gemm and MatMul as FULLY_CONNECTED.

No version of FULLY_CONNECTED tells weights with a scale for every channel from weights with one,
so an older reader would take the first scale for all. A Gemm with such weights becomes the CONV_2D
it equals, whose int8 version has had them from the beginning.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.lower.layout import is_order_free
from pipeline.lower.lowering import (
    Lowering,
    NoTfliteForm,
    input_of,
    quantization_of,
    static_shape,
)
from pipeline.lower.model_file import Quantization, Tensor
from pipeline.lower.padding import padded, read_through_pad, window_of
from pipeline.lower.rules import require_bias_scale, require_weights
from pipeline.lower.shapes import emit_reshape
from pipeline.lower.versions import DILATED_DEPTHWISE, GROUPED_CONVOLUTION
from pipeline.quant.integers import bias_integers, weight_integers
from pipeline.quant.layers import array_of
from pipeline.quant.plan import BiasPlan, TensorPlan

if TYPE_CHECKING:
    import onnx_ir as ir


def lower_conv(low: Lowering, node: "ir.Node") -> None:
    """A convolution over rows and columns: plain, grouped or depthwise."""
    plan, weights = _weights(low, node, axis=0)
    if weights.ndim != 4:
        raise NoTfliteForm(node, f"it runs over {weights.ndim - 2} dimensions; only 2 are known")
    source, before = read_through_pad(low, node)
    result = low.result(node)
    window = window_of(node, source, result, weights.shape[2:], before)
    image, padding = padded(low, source, result, window)
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": window.rows.stride,
        "strideW": window.columns.stride,
        "dilationHFactor": window.rows.dilation,
        "dilationWFactor": window.columns.dilation,
        "fusedActivationFunction": low.activation(node),
    }
    groups = node.attributes.get_int("group", 1)
    if 1 < groups == source.shape[3]:
        filters = _filters(low, node, plan, weights.transpose(1, 2, 3, 0), axis=3)
        bias = _bias(low, node, plan, len(weights))
        multiplier = len(weights) // groups
        made = low.schema.DepthwiseConv2DOptionsT(depthMultiplier=multiplier, **options)
        is_dilated = window.rows.dilation > 1 or window.columns.dilation > 1
        at_least = DILATED_DEPTHWISE if is_dilated else 1
        low.emit("DEPTHWISE_CONV_2D", [image, filters, bias], result, made, at_least=at_least)
    else:
        filters = _filters(low, node, plan, weights.transpose(0, 2, 3, 1), axis=0)
        bias = _bias(low, node, plan, len(weights))
        made = low.schema.Conv2DOptionsT(**options)
        at_least = GROUPED_CONVOLUTION if groups > 1 else 1
        low.emit("CONV_2D", [image, filters, bias], result, made, at_least=at_least)


def lower_gemm(low: Lowering, node: "ir.Node") -> None:
    """A matrix of weights. Behind a Flatten its columns are put in the order in which the feature
    map is stored, so that nothing has to be transposed when the model runs."""
    attributes = node.attributes
    factors = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    if factors != (1.0, 1.0) or attributes.get_int("transA", 0) != 0:
        raise NoTfliteForm(node, "alpha or beta is not 1, or its input is transposed")
    value = input_of(node, 0)
    if len(static_shape(value)) != 2:
        raise NoTfliteForm(
            node, f"its input has {len(static_shape(value))} dimensions; 2 are known"
        )
    rows_first = node.op_type == "Gemm" and bool(attributes.get_int("transB", 0))
    plan, weights = _weights(low, node, axis=0 if rows_first else 1)
    rows = weights if rows_first else weights.T
    feature_map = _flattened(value)
    batch, features = static_shape(value)
    shape = (features, 1, 1) if feature_map is None else static_shape(feature_map)[1:]
    stored = rows.reshape(-1, *shape).transpose(0, 2, 3, 1)
    result = low.result(node)
    if plan.axis is not None:
        if feature_map is None:
            flat = (batch, *stored.shape[1:])
            image = low.between(low.tensor(value), "image", flat, result)
            emit_reshape(low, low.tensor(value), image)
        else:
            image = low.tensor(feature_map)
        _emit_convolution(low, node, image, plan, stored, result)
        return
    source = low.tensor(value)
    if feature_map is not None and not is_order_free(static_shape(feature_map)):
        source = low.between(source, "flat", (batch, features), result)
        emit_reshape(low, low.tensor(feature_map), source)
    filters = _filters(low, node, plan, stored.reshape(len(stored), -1), axis=0)
    bias = _bias(low, node, plan, len(stored))
    options = low.schema.FullyConnectedOptionsT(fusedActivationFunction=low.activation(node))
    low.emit("FULLY_CONNECTED", [source, filters, bias], result, options)


def _emit_convolution(
    low: Lowering,
    node: "ir.Node",
    image: Tensor,
    plan: TensorPlan,
    stored: NDArray[Any],
    result: Tensor,
) -> None:
    """A Gemm as the convolution whose kernel is as large as the image."""
    filters = _filters(low, node, plan, stored, axis=0)
    bias = _bias(low, node, plan, len(stored))
    pixels = low.between(result, "pixels", (result.shape[0], 1, 1, result.shape[1]), result)
    options = low.schema.Conv2DOptionsT(
        padding=low.schema.Padding.VALID,
        strideH=1,
        strideW=1,
        fusedActivationFunction=low.activation(node),
    )
    low.emit("CONV_2D", [image, filters, bias], pixels, options)
    emit_reshape(low, pixels, result)


def _flattened(value: "ir.Value") -> "ir.Value | None":
    """The feature map that a row of features is the flattened form of, if it is one."""
    producer = value.producer()
    if producer is None or producer.op_type not in ("Flatten", "Reshape", "Squeeze"):
        return None
    source = input_of(producer, 0)
    shape = static_shape(source)
    is_whole = len(shape) == 4 and static_shape(value) == (shape[0], int(np.prod(shape[1:])))
    return source if is_whole else None


def _weights(low: Lowering, node: "ir.Node", axis: int) -> tuple[TensorPlan, NDArray[Any]]:
    """The plan of a node's weights, and their integers in ONNX's order."""
    value = input_of(node, 1)
    if value.const_value is None:
        raise NoTfliteForm(node, "its weights are not constant")
    plan = low.plan.weights.get(value.name or "")
    if plan is None or plan.data_type != low.plan.data_type:
        raise NoTfliteForm(node, f"the Plan has no {low.plan.data_type} weights for it")
    require_weights(node, plan, axis)
    return plan, weight_integers(array_of(value), plan)


def _filters(
    low: Lowering, node: "ir.Node", plan: TensorPlan, stored: NDArray[Any], axis: int
) -> Tensor:
    """A constant of weights whose scales, if there are several, are along stored `axis`."""
    quantization = quantization_of(plan, axis if plan.axis is not None else 0)
    return low.file.constant(input_of(node, 1).name or "", stored, quantization)


def _bias(low: Lowering, node: "ir.Node", weights: TensorPlan, channels: int) -> Tensor:
    """The bias, also where neither Graph nor Plan has one: the convolution kernels want it."""
    source = low.planned(node, input_of(node, 0))
    value = node.inputs[2] if len(node.inputs) > 2 else None
    plan = low.plan.biases.get(node.name or "")
    if plan is None:
        if value is not None:
            raise NoTfliteForm(node, "the Plan leaves its bias float")
        plan = BiasPlan(scale=tuple(source.scale[0] * scale for scale in weights.scale))
    require_bias_scale(node, source, weights, plan)
    if value is not None and (
        value.const_value is None or np.size(value.const_value.numpy()) != channels
    ):
        raise NoTfliteForm(node, "its bias is not a constant for every output channel")
    real = None if value is None else array_of(value)
    integers = bias_integers(real, channels, plan, node.name or "")
    zeros = (0,) * len(plan.scale)
    return low.file.constant(f"{node.name}_bias", integers, Quantization(plan.scale, zeros))
