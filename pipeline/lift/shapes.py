"""Operators that only move values: RESHAPE, SQUEEZE, TRANSPOSE, CONCATENATION.

Between feature maps, which ONNX counts N, C, H, W, and anything else the order of the values
changes, so a Transpose goes in; it is left out where there are no channels or no pixels to reorder,
and in front of a layer whose weights can be reordered instead.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from pipeline.lift.layout import onnx_axis, onnx_order, onnx_shape
from pipeline.lift.lifting import Lifting
from pipeline.lift.subgraph import Operator, Tensor
from pipeline.lower.layout import TO_NCHW, TO_NHWC, is_order_free

if TYPE_CHECKING:
    import onnx_ir as ir


def lift_reshape(lifting: Lifting, operator: Operator) -> "ir.Value":
    """RESHAPE and SQUEEZE, into the shape that the file says their result has; every image keeps its
    values."""
    source, result = lifting.tensor(operator, 0), lifting.result(operator)
    if not source.shape or not result.shape or math.prod(source.shape) != math.prod(result.shape) or (
        {source.shape[0], result.shape[0]} != {lifting.batch}
    ):  # fmt: skip
        raise lifting.refused(
            operator,
            f"it makes {list(result.shape)} out of {list(source.shape)}; values have to stay with "
            f"their images, {lifting.batch} at a time",
        )
    value = lifting.value(operator, 0)
    if not is_order_free(onnx_shape(source.shape)):
        if len(result.shape) == 2 and _is_read_by_weights(lifting, result):
            lifting.set_rows(result, source.shape)
            return lifting.emit("Flatten", operator, [value], axis=1)
        value = lifting.emit("Transpose", operator, [value], perm=TO_NHWC)
    if len(result.shape) == 2:
        return lifting.emit("Flatten", operator, [value], axis=1)
    is_free = is_order_free(onnx_shape(result.shape))
    shape = onnx_shape(result.shape) if is_free else result.shape
    sides = lifting.store(np.array([0, *shape[1:]], np.int64))  # 0 keeps the size of the batch
    value = lifting.emit("Reshape", operator, [value, sides])
    return value if is_free else lifting.emit("Transpose", operator, [value], perm=TO_NCHW)


def lift_transpose(lifting: Lifting, operator: Operator) -> "ir.Value":
    """TRANSPOSE of anything but the batch, which stays in front."""
    rank = len(lifting.tensor(operator, 0).shape)
    stored = lifting.constant(operator, 1, np.integer).reshape(-1).tolist()
    if sorted(stored) != list(range(rank)) or stored[0] != 0:
        raise lifting.refused(operator, f"it puts {rank} dimensions in the order {stored}")
    order = [onnx_axis(stored[place], rank) for place in onnx_order(rank)]
    return lifting.emit("Transpose", operator, [lifting.value(operator, 0)], perm=order)


def _is_read_by_weights(lifting: Lifting, rows: Tensor) -> bool:
    """Whether only FULLY_CONNECTED layers read a row of features, as what they work on."""
    subgraph = lifting.subgraph
    readers = subgraph.readers.get(rows.index, [])
    ends = [tensor.index for tensor in subgraph.outputs]
    return rows.index not in ends and all(
        reader.kind == "FULLY_CONNECTED" and rows.index not in reader.inputs[1:]
        for reader in readers
    )


def lift_concatenation(lifting: Lifting, operator: Operator) -> "ir.Value":
    """CONCATENATION along any dimension but that of the batch."""
    options = lifting.options(operator, "ConcatenationOptions")
    rank = len(lifting.result(operator).shape)
    if not -rank <= options.axis < rank or options.axis % rank == 0:
        raise lifting.refused(operator, f"it joins along dimension {options.axis} of {rank}")
    inputs = [lifting.value(operator, index) for index in range(len(operator.inputs))]
    return lifting.emit("Concat", operator, inputs, axis=onnx_axis(options.axis, rank))
