"""Windows of the Graph over stored tensors, with the padding that TFLite can say, or a PAD before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.lower.layout import order
from pipeline.lower.lowering import Lowering, NoTfliteForm, input_of
from pipeline.lower.model_file import Tensor
from pipeline.lower.rules import require_same_scale
from pipeline.lower.versions import rank_version
from pipeline.lower.window import Axis, Window

if TYPE_CHECKING:
    import onnx_ir as ir

Before = tuple[int, int]
"""Rows above and columns to the left."""
NOTHING: Before = (0, 0)


def window_of(
    node: "ir.Node", source: Tensor, result: Tensor, kernel: Sequence[int], before: Before = NOTHING
) -> Window:
    """A node's window over stored `source`, which the Graph pads by `before` already."""
    attributes = node.attributes
    sizes, outs = source.shape[1:3], result.shape[1:3]
    strides = attributes.get_ints("strides", (1, 1))
    dilations = attributes.get_ints("dilations", (1, 1))
    pads = attributes.get_ints("pads", (0, 0, 0, 0))  # all beginnings first
    rows, columns = (
        Axis(sizes[i], kernel[i], strides[i], dilations[i], pads[i] + before[i], outs[i])
        for i in range(2)
    )
    if min(rows.begin, columns.begin) < 0:
        raise NoTfliteForm(node, "its pads are negative")
    return Window(rows, columns)


def read_through_pad(low: Lowering, node: "ir.Node") -> tuple[Tensor, Before]:
    """A convolution's input, or, where a Pad of zeros makes that, the Pad's own input and what it
    puts before it. What it puts behind shows in the size of the result."""
    value = input_of(node, 0)
    pad = value.producer()
    if pad is None or pad.op_type != "Pad":
        return low.tensor(value), NOTHING
    begins, ends, fill = pad_values(pad)
    outside = (*begins[:2], *ends[:2])
    if len(begins) != 4 or any(outside) or fill != 0.0 or min(begins + ends) < 0:
        return low.tensor(value), NOTHING
    return low.tensor(input_of(pad, 0)), (begins[2], begins[3])


def pad_values(node: "ir.Node") -> tuple[list[int], list[int], float]:
    """What a Pad puts before and behind every dimension of ONNX's, and the value it fills in."""
    if node.attributes.get_string("mode", "constant") != "constant":
        raise NoTfliteForm(node, "only padding by a constant is known")
    constants = [
        None if value is None or value.const_value is None else value.const_value.numpy()
        for value in (*node.inputs[1:3], None, None)
    ]
    if constants[0] is None:
        raise NoTfliteForm(node, "its pads are not constant")
    pads = [int(pad) for pad in constants[0].reshape(-1)]
    fill = 0.0 if constants[1] is None else float(constants[1].reshape(-1)[0])
    return pads[: len(pads) // 2], pads[len(pads) // 2 :], fill


def padded(
    low: Lowering, source: Tensor, result: Tensor, window: Window, fill: int | None = None
) -> tuple[Tensor, int]:
    """What the window runs over, and the schema's number for the padding that is left to it.

    Where neither SAME nor VALID is meant, `source` is surrounded by `fill` (None: real zero).
    """
    word = window.padding
    if word is not None:
        return source, int(getattr(low.schema.Padding, word))
    return surrounded(low, source, result, window, fill), int(low.schema.Padding.VALID)


def surrounded(
    low: Lowering, source: Tensor, result: Tensor, window: Window, fill: int | None
) -> Tensor:
    """`source` with as much around it as the window of `result` reaches beyond it."""
    rows, columns = window.rows, window.columns
    pads = [(0, 0), (rows.begin, rows.end), (columns.begin, columns.end), (0, 0)]
    shape = [side + sum(pads[i]) for i, side in enumerate(source.shape)]
    wide = low.between(source, "padded", shape, result)
    emit_pad(low, source, wide, pads, fill)
    return wide


def emit_pad(
    low: Lowering,
    source: Tensor,
    result: Tensor,
    pads: Sequence[tuple[int, int]],
    fill: int | None,
) -> None:
    """Pad stored dimensions by an integer, or by real zero for None."""
    inputs = [source, low.parameter(result, "pads", pads)]
    at_least = rank_version("PAD", len(pads))
    quantization = source.quantization
    assert quantization is not None
    if fill is None or fill == quantization.zero_point[0]:
        low.emit("PAD", inputs, result, low.schema.PadOptionsT(), at_least=at_least)
    else:
        value = np.full((1,), fill, source.dtype)
        inputs.append(low.file.constant(f"{low.file.name(result)}_fill", value, quantization))
        low.emit("PADV2", inputs, result, low.schema.PadV2OptionsT(), at_least=at_least)


def lower_pad(low: Lowering, node: "ir.Node") -> None:
    """Padding on its own; a convolution of zeros' padding reads past it."""
    begins, ends, fill = pad_values(node)
    if min(begins + ends) < 0:
        raise NoTfliteForm(node, "its pads are negative")
    source, result = low.read(node, 0), low.result(node)
    require_same_scale(node, source, result)
    pads = [(begins[axis], ends[axis]) for axis in order(len(begins))]
    emit_pad(low, source, result, pads, _integer_of(fill, source))


def lowest_integer(tensor: Tensor) -> int:
    """The least integer of a tensor's type."""
    return int(np.iinfo(tensor.dtype).min)


def _integer_of(real: float, tensor: Tensor) -> int:
    """A fill as the integer that QuantizeLinear would make of it; -inf is the least."""
    quantization, ends = tensor.quantization, np.iinfo(tensor.dtype)
    assert quantization is not None
    steps = np.rint(real / quantization.scale[0]) + quantization.zero_point[0]
    return int(np.clip(steps, ends.min, ends.max))
