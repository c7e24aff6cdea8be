"""Operators that only move integers: Reshape and its kin, Transpose, Concat, Slice, Split.

Between feature maps, which are stored NHWC, and anything else the order of the values changes, so
a TRANSPOSE goes in; it is left out where there are no channels or no pixels to reorder.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.lower.layout import (
    TO_NCHW,
    TO_NHWC,
    is_order_free,
    stored_axis,
    stored_permutation,
)
from pipeline.lower.lowering import Lowering, NoTfliteForm, input_of, static_shape
from pipeline.lower.model_file import Tensor
from pipeline.lower.rules import require_same_scale
from pipeline.lower.versions import lowest_version, rank_version

if TYPE_CHECKING:
    import onnx_ir as ir


def lower_reshape(low: Lowering, node: "ir.Node") -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze: the same values in ONNX's order."""
    value = input_of(node, 0)
    source, result = low.read(node, 0), low.result(node)
    require_same_scale(node, source, result)
    before, after = static_shape(value), static_shape(node.outputs[0])
    if not is_order_free(before):
        planes = low.between(source, "planes", before, result)
        emit_transpose(low, source, planes, TO_NCHW)
        source = planes
    if is_order_free(after):
        emit_reshape(low, source, result)
    else:
        planes = low.between(source, "reshaped", after, result)
        emit_reshape(low, source, planes)
        emit_transpose(low, planes, result, TO_NHWC)


def lower_transpose(low: Lowering, node: "ir.Node") -> None:
    """Transpose, as it is between stored dimensions."""
    source, result = low.read(node, 0), low.result(node)
    require_same_scale(node, source, result)
    rank = len(source.shape)
    permutation = node.attributes.get_ints("perm", tuple(reversed(range(rank))))
    emit_transpose(low, source, result, stored_permutation(permutation))


def lower_concat(low: Lowering, node: "ir.Node") -> None:
    """CONCATENATION, which rescales uint8 inputs and takes int8 ones as they are."""
    result = low.result(node)
    rank = len(result.shape)
    inputs = [low.read(node, index, rank) for index in range(len(node.inputs))]
    if result.dtype == "int8":
        for tensor in inputs:
            require_same_scale(node, tensor, result)
    options = low.schema.ConcatenationOptionsT(
        axis=stored_axis(node.attributes["axis"].as_int(), rank)
    )
    low.emit("CONCATENATION", inputs, result, options)


def lower_slice(low: Lowering, node: "ir.Node") -> None:
    """Slice with constant bounds and steps forward, as STRIDED_SLICE."""
    source, result = low.read(node, 0), low.result(node)
    require_same_scale(node, source, result)
    starts, ends, axes, steps = (_integers(node, index) for index in range(1, 5))
    rank = len(source.shape)
    bounds = [(0, side, 1) for side in source.shape]
    for index, axis in enumerate(axes or range(len(starts))):
        place, step = stored_axis(axis, rank), steps[index] if steps else 1
        if step < 1:
            raise NoTfliteForm(node, f"its step is {step}; only steps forward are known")
        bounds[place] = slice(starts[index], ends[index], step).indices(source.shape[place])
    emit_strided_slice(low, source, result, bounds)


def lower_split(low: Lowering, node: "ir.Node") -> None:
    """Split into equal parts as SPLIT, into others as a STRIDED_SLICE for each of them."""
    source, results = low.read(node, 0), low.results(node)
    for result in results:
        require_same_scale(node, source, result)
    place = stored_axis(node.attributes.get_int("axis", 0), len(source.shape))
    sides = [result.shape[place] for result in results]
    if len(set(sides)) == 1:
        axis = low.parameter(results[0], "axis", place)
        options = low.schema.SplitOptionsT(numSplits=len(results))
        version = lowest_version("SPLIT", source.dtype)
        low.file.operator("SPLIT", version, [axis, source], results, options)
        return
    begin = 0
    for side, result in zip(sides, results, strict=True):
        bounds = [(0, whole, 1) for whole in source.shape]
        bounds[place] = (begin, begin + side, 1)
        emit_strided_slice(low, source, result, bounds)
        begin += side


def _integers(node: "ir.Node", index: int) -> list[int]:
    """A constant input as a list, empty where the node has none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return []
    if value.const_value is None:
        raise NoTfliteForm(node, "its bounds are not constant")
    return [int(number) for number in value.const_value.numpy().reshape(-1)]


def emit_reshape(low: Lowering, source: Tensor, result: Tensor) -> None:
    """RESHAPE into the shape of `result`, which its options and its second input both say."""
    shape = low.parameter(result, "shape", result.shape)
    options = low.schema.ReshapeOptionsT(newShape=np.array(result.shape, np.int32))
    low.emit("RESHAPE", [source, shape], result, options)


def emit_transpose(
    low: Lowering, source: Tensor, result: Tensor, permutation: Sequence[int]
) -> None:
    """TRANSPOSE of stored dimensions."""
    order = low.parameter(result, "permutation", permutation)
    at_least = rank_version("TRANSPOSE", len(permutation))
    low.emit(
        "TRANSPOSE", [source, order], result, low.schema.TransposeOptionsT(), at_least=at_least
    )


def emit_strided_slice(
    low: Lowering, source: Tensor, result: Tensor, bounds: Sequence[tuple[int, int, int]]
) -> None:
    """STRIDED_SLICE of every stored dimension by `(begin, end, step)`."""
    words = ("begin", "end", "step")
    parameters = [
        low.parameter(result, word, [bound[index] for bound in bounds])
        for index, word in enumerate(words)
    ]
    at_least = rank_version("STRIDED_SLICE", len(bounds))
    options = low.schema.StridedSliceOptionsT()
    low.emit("STRIDED_SLICE", [source, *parameters], result, options, at_least=at_least)
