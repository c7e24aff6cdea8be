"""Layers with weights: CONV_2D and DEPTHWISE_CONV_2D as Conv, FULLY_CONNECTED as Gemm."""

import math
from typing import TYPE_CHECKING, Any

from pipeline.lift.lifting import Lifting
from pipeline.lift.padding import read_through_pad, window_pads
from pipeline.lift.subgraph import Operator

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray


def lift_conv(lifting: Lifting, operator: Operator) -> "ir.Value":
    """A convolution, whose filters are stored O, H, W, I; fewer input channels than the picture has
    mean groups."""
    options = lifting.options(operator, "Conv2DOptions")
    weights = _weights(lifting, operator, rank=4)
    channels = _channels(lifting, operator)
    groups, rest = divmod(channels, weights.shape[3])
    if rest or len(weights) % groups:
        raise lifting.refused(
            operator, f"its filters are {list(weights.shape)} for {channels} channels"
        )
    return _emit(lifting, operator, options, weights.transpose(0, 3, 1, 2), groups)


def lift_depthwise(lifting: Lifting, operator: Operator) -> "ir.Value":
    """A convolution of every channel by itself, whose filters are stored 1, H, W, O."""
    options = lifting.options(operator, "DepthwiseConv2DOptions")
    weights = _weights(lifting, operator, rank=4)
    channels = _channels(lifting, operator)
    if weights.shape[0] != 1 or weights.shape[3] % channels:
        raise lifting.refused(
            operator, f"its filters are {list(weights.shape)} for {channels} channels"
        )
    return _emit(lifting, operator, options, weights.transpose(3, 0, 1, 2), channels)


def lift_fully_connected(lifting: Lifting, operator: Operator) -> "ir.Value":
    """A matrix of weights, stored by output. What it reads of a feature map comes in ONNX's order,
    so its columns are put into that order."""
    options = lifting.options(operator, "FullyConnectedOptions")
    weights = _weights(lifting, operator, rank=2)
    if options.weightsFormat != lifting.schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise lifting.refused(operator, "its weights are shuffled")
    source, result = lifting.tensor(operator, 0), lifting.result(operator)
    if len(result.shape) != 2 or result.shape[0] != lifting.batch or (
        math.prod(source.shape) != lifting.batch * weights.shape[1]
    ):  # fmt: skip
        raise lifting.refused(
            operator,
            f"it makes {list(result.shape)} out of {list(source.shape)}; only rows of features of "
            "every image are known",
        )
    value = lifting.value(operator, 0)
    feature_map = lifting.rows(source)
    if len(source.shape) != 2:
        value = lifting.emit("Flatten", operator, [value], axis=1)
        feature_map = source.shape if len(source.shape) == 4 else None
    if feature_map is not None:
        stored = weights.reshape(len(weights), *feature_map[1:])
        weights = stored.transpose(0, 3, 1, 2).reshape(weights.shape)
    inputs = [value, lifting.store(weights), *_bias(lifting, operator, len(weights))]
    return lifting.emit("Gemm", operator, inputs, transB=1)


def _emit(
    lifting: Lifting, operator: Operator, options: Any, filters: "NDArray[Any]", groups: int
) -> "ir.Value":
    strides = (options.strideH, options.strideW)
    dilations = (options.dilationHFactor, options.dilationWFactor)
    kernel = filters.shape[2:]
    source = lifting.tensor(operator, 0)
    pads = window_pads(lifting, operator, options.padding, source, kernel, strides, dilations)
    value, pads = read_through_pad(lifting, operator, pads)
    inputs = [value, lifting.store(filters), *_bias(lifting, operator, len(filters))]
    return lifting.emit(
        "Conv", operator, inputs, kernel_shape=list(kernel), strides=strides, dilations=dilations,
        pads=pads, group=groups,
    )  # fmt: skip


def _channels(lifting: Lifting, operator: Operator) -> int:
    """Channels of the feature map that a convolution reads."""
    shape = lifting.tensor(operator, 0).shape
    if len(shape) != 4 or shape[3] < 1:
        raise lifting.refused(operator, f"it reads {list(shape)}, which is no feature map")
    return shape[3]


def _weights(lifting: Lifting, operator: Operator, rank: int) -> "NDArray[Any]":
    weights = lifting.constant(operator, 1)
    if weights.ndim != rank or not weights.size:
        raise lifting.refused(operator, f"its weights have the shape {list(weights.shape)}")
    return weights


def _bias(lifting: Lifting, operator: Operator, channels: int) -> "list[ir.Value]":
    if not lifting.has(operator, 2):
        return []
    bias = lifting.constant(operator, 2)
    if bias.size != channels:
        raise lifting.refused(operator, f"its bias has {bias.size} values for {channels} channels")
    return [lifting.store(bias.reshape(-1))]
