"""Where a layer's output channels are read, one to one, by the layers behind it.

Rules for following a layer's result:
 1. Relu is positively homogeneous, `relu(x / s) = relu(x) / s`; pools, zero pads, global pools and
    the flattening of a 1x1 map treat every channel by itself and linearly.
 2. Clip(0, b) is so only for channels that stay below b; the coupling remembers its bound.
 3. Concat moves the channels by the sizes of the branches before.
 4. Conv and Gemm read them: a dense one along its input channels, a depthwise one row by row.
 5. Anything else (an addition, a multiplication, the model's result) mixes channels with others, and
    the layer is coupled to nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.quant.placement import activation_bounds

if TYPE_CHECKING:
    import onnx_ir as ir

HOMOGENEOUS = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool")


@dataclass(frozen=True)
class Reader:
    """A layer that reads the channels, from number `offset` of its input `tensor` on."""

    node: str
    tensor: str
    offset: int
    padded: bool


@dataclass(frozen=True)
class Passage:
    """A tensor the channels pass through, from number `offset` on, and the bound it clips them at."""

    tensor: str
    offset: int
    bound: float | None
    activated: bool


@dataclass(frozen=True)
class Coupling:
    """A layer, everything its channels pass through, and all that read them."""

    writer: str
    channels: int
    passages: tuple[Passage, ...]
    readers: tuple[Reader, ...]
    pads_zeros: bool


def find_couplings(graph: "ir.Graph") -> list[Coupling]:
    """The couplings of all convolutions that have one, in graph order."""
    found = []
    for node in graph:
        if node.op_type == "Conv" and is_constant(node, 1):
            coupling = _follow(node)
            if coupling is not None:
                found.append(coupling)
    return found


def is_constant(node: "ir.Node", index: int) -> bool:
    """Whether an input is an initializer of this node alone."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value is not None and value.const_value is not None and len(value.uses()) == 1


def is_depthwise(node: "ir.Node") -> bool:
    """Whether every input channel has a filter of its own and makes one output channel."""
    group = node.attributes.get_int("group", 1)
    weight = node.inputs[1]
    return (
        group > 1
        and weight is not None
        and weight.shape is not None
        and weight.shape[0] == group
        and weight.shape[1] == 1
    )


def _follow(writer: "ir.Node") -> Coupling | None:
    result = writer.outputs[0]
    if result.shape is None or not isinstance(result.shape[1], int):
        return None
    channels = result.shape[1]
    passages: list[Passage] = [Passage(result.name or "", 0, None, activated=False)]
    readers: list[Reader] = []
    pads_zeros = False
    pending: list[tuple[ir.Value, int, bool]] = [(result, 0, False)]
    while pending:
        value, offset, activated = pending.pop()
        if value.is_graph_output():
            return None
        for use in value.uses():
            step = _step(use.node, use.idx, offset)
            if step is None:
                return None
            if isinstance(step, Reader):
                readers.append(step)
                continue
            moved, bound = step
            pads_zeros = pads_zeros or _makes_zeros(use.node)
            output = use.node.outputs[0]
            activated_here = activated or use.node.op_type in ("Relu", "Clip")
            passages.append(Passage(output.name or "", moved, bound, activated_here))
            pending.append((output, moved, activated_here))
    if not readers:
        return None
    return Coupling(writer.name or "", channels, tuple(passages), tuple(readers), pads_zeros)


def _step(node: "ir.Node", index: int, offset: int) -> "Reader | tuple[int, float | None] | None":
    """What a node does with channels from `offset` on: read them, pass them on, or neither."""
    kind = node.op_type
    if kind in ("Conv", "Gemm"):
        readable = index == 0 and is_constant(node, 1)
        dense = kind == "Gemm" or node.attributes.get_int("group", 1) == 1
        if not readable or not (dense or is_depthwise(node)):
            return None
        source = node.inputs[0]
        assert source is not None
        return Reader(node.name or "", source.name or "", offset, _has_pads(node))
    if kind in HOMOGENEOUS:
        return offset, None
    if kind == "Clip":
        low, high = activation_bounds(node)
        return (offset, high) if low == 0.0 else None
    if kind == "Concat" and node.attributes.get_int("axis", 1) == 1:
        return offset + _channels_before(node, index), None
    if kind == "Pad" and _pads_zeros(node):
        return offset, None
    if kind == "Flatten" and _is_point(node):
        return offset, None
    return None


def _makes_zeros(node: "ir.Node") -> bool:
    """Whether a node on the way counts zeros among the values: a Pad, and an average over pads."""
    counted = node.op_type == "AveragePool" and node.attributes.get_int("count_include_pad", 0) == 1
    return node.op_type == "Pad" or (counted and _has_pads(node))


def _has_pads(node: "ir.Node") -> bool:
    return any(node.attributes.get_ints("pads", [0]))


def _channels_before(node: "ir.Node", index: int) -> int:
    total = 0
    for value in node.inputs[:index]:
        assert value is not None
        assert value.shape is not None
        total += int(str(value.shape[1]))
    return total


def _pads_zeros(node: "ir.Node") -> bool:
    if node.attributes.get_string("mode", "constant") != "constant":
        return False
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    return fill is None or (fill.const_value is not None and fill.const_value.numpy().item() == 0)


def _is_point(node: "ir.Node") -> bool:
    value = node.inputs[0]
    return value is not None and value.shape is not None and list(value.shape)[2:] == [1, 1]
