"""TFLite's SAME and VALID as ONNX's pads, and PAD, which may become a convolution's own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.graph.auto_pad import pads_of
from pipeline.lift.layout import onnx_order
from pipeline.lift.lifting import Lifting
from pipeline.lift.subgraph import Operator, Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

Pads = list[tuple[int, int]]
"""Before and behind, for every dimension."""


def window_pads(
    lifting: Lifting,
    operator: Operator,
    padding: int,
    source: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> list[int]:
    """ONNX's pads of a window over a stored feature map. SAME puts the smaller half before, and what
    it takes altogether depends on the size of the feature map."""
    if min(*kernel, *strides, *dilations) < 1 or len(source.shape) != 4:
        raise lifting.refused(operator, "its window is not one over rows and columns")
    words = {lifting.schema.Padding.SAME: "SAME_UPPER", lifting.schema.Padding.VALID: "VALID"}
    if padding not in words:
        raise lifting.refused(operator, f"its padding is of the unknown kind {padding}")
    extents = [(kernel[i] - 1) * dilations[i] + 1 for i in range(2)]
    axes = [(source.shape[1 + i], extents[i], strides[i]) for i in range(2)]
    pads = pads_of(words[padding], axes)
    return [pads[0][0], pads[1][0], pads[0][1], pads[1][1]]


def read_through_pad(
    lifting: Lifting, operator: Operator, pads: list[int]
) -> "tuple[ir.Value, list[int]]":
    """What a convolution reads and its pads; a PAD of zeros around the picture becomes the pads of a
    convolution that has none."""
    source = lifting.tensor(operator, 0)
    pad = lifting.subgraph.makers.get(source.index)
    if pad is None or pad.kind != "PAD" or any(pads):
        return lifting.value(operator, 0), pads
    around = pad_values(lifting, pad)
    if len(around) != 4 or any(around[0] + around[3]):
        return lifting.value(operator, 0), pads
    (top, bottom), (left, right) = around[1:3]
    return lifting.value(pad, 0), [top, left, bottom, right]


def pad_values(lifting: Lifting, operator: Operator) -> Pads:
    """What a PAD puts before and behind every stored dimension."""
    table = lifting.constant(operator, 1, np.integer)
    rank = len(lifting.tensor(operator, 0).shape)
    if table.shape != (rank, 2) or table.min(initial=0) < 0:
        raise lifting.refused(operator, f"its pads are {table.tolist()}")
    return [(int(before), int(behind)) for before, behind in table]


def lift_pad(lifting: Lifting, operator: Operator) -> "ir.Value":
    """PAD by zeros, and PADV2 by any one number."""
    pads = pad_values(lifting, operator)
    if any(pads[0]):
        raise lifting.refused(operator, "it adds images to the batch")
    axes = onnx_order(len(pads))
    flat = [pads[axis][0] for axis in axes] + [pads[axis][1] for axis in axes]
    inputs = [lifting.value(operator, 0), lifting.store(np.array(flat, np.int64))]
    if operator.kind == "PADV2":
        fill = lifting.constant(operator, 2)
        if fill.size != 1:
            raise lifting.refused(operator, "it fills in more than one number")
        inputs.append(lifting.store(fill.reshape(())))
    return lifting.emit("Pad", operator, inputs, mode="constant")
