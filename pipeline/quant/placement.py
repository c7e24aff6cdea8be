"""Which tensors of a Graph are quantized, and which have to share their scale with another.

Rules:
 1. The model's input and every float result of a node are quantized, except as 2 says.
 2. A Relu or Clip is fused into the node before it where nothing else reads that node: the
    result before the activation never exists as integers, and its range is the activation's.
 3. Max pools, average pools, pads, reshapes, splits and the like only move or average integers:
    their results have the scale of their input. (LiteRT copies raw values through an average pool with
    unequal scales and does not complain.)
 4. int8 concatenations share one scale between all branches and the result (TFLite
    specification); uint8 ones may requantize. A constant cannot be one of those branches.
 5. Softmax, Sigmoid and Tanh have the scales that the TFLite specification fixes for them, except
    where they share one by rule 4.
 6. Weights of Conv, Gemm and MatMul are quantized as weights, their biases to int32; other float
    constants as tensors of their own.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir

FIXED_SCALE = ("Softmax", "Sigmoid", "Tanh")
ACTIVATIONS = ("Relu", "Clip")
FUSES_ACTIVATION = ("Conv", "Gemm", "Add")
KEEPS_SCALE = (
    "MaxPool", "AveragePool", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice",
    "Split",
)  # fmt: skip
WEIGHT_AXIS = {"Conv": 0, "Gemm": 0, "MatMul": 1}
"""Operators with weights as second input, and the axis of a matrix's output channels; those of a
MatMul are the last axis, whatever its rank."""


@dataclass(frozen=True)
class WeightPlace:
    """A weight initializer, the node that uses it, and the axis of its output channels."""

    name: str
    node: str
    axis: int


@dataclass(frozen=True)
class Placement:
    """What is quantized. `owner` maps every quantized activation to the tensor whose range
    decides its scale (itself, mostly); `merged` lists, per owner, the tensors whose ranges are
    united (concatenations that share); `fixed` names the operator of tensors whose scale the
    specification fixes; `layer` is the node whose layer a tensor is the result of."""

    activations: tuple[str, ...]
    owner: dict[str, str]
    merged: dict[str, tuple[str, ...]]
    fixed: dict[str, str]
    layer: dict[str, str]
    weights: tuple[WeightPlace, ...]
    constants: tuple[str, ...]
    biased: tuple[str, ...]

    @property
    def observed(self) -> tuple[str, ...]:
        """The tensors that calibration has to watch."""
        return tuple(
            name for group in self.merged.values() for name in group if name not in self.fixed
        )


def place(graph: "ir.Graph", *, concat_shares: bool) -> Placement:
    """Apply the rules to a canonical graph."""
    activations = [_name(graph.inputs[0])]

    def shared(node: "ir.Node", value: "ir.Value") -> str:
        """The name of an input that has to be quantized with the node's result."""
        if value.const_value is not None:
            raise StageError(
                f"{node.op_type} {_name_of(node)} reads the constant {_name(value)}, which cannot "
                "share a scale with its result",
                hint="fold the constant into the model, or leave the model unquantized"
                if node.op_type != "Concat"
                else "quantize.data_type: uint8 lets concatenations requantize",
            )
        return _name(value)

    source: dict[str, str] = {}
    fixed: dict[str, str] = {}
    layer: dict[str, str] = {}
    united: list[list[str]] = []
    for node in graph:
        for result in node.outputs:
            if not _is_float(result) or fused_activation(node) is not None:
                continue
            activations.append(_name(result))
            layer[_name(result)] = _layer_of(node)
            if node.op_type in FIXED_SCALE:
                fixed[_name(result)] = node.op_type
            elif node.op_type in KEEPS_SCALE and node.inputs[0] is not None:
                source[_name(result)] = shared(node, node.inputs[0])
            elif node.op_type == "Concat" and concat_shares:
                branches = [shared(node, value) for value in node.inputs if value is not None]
                united.append([_name(result), *branches])
    owner = _owners(activations, source, united)
    merged: dict[str, list[str]] = {}
    for name in activations:
        # A tensor that takes its scale from its input adds nothing to the range.
        if name not in source:
            merged.setdefault(owner[name], []).append(name)
    weights, constants, biased = _place_constants(graph)
    return Placement(
        activations=tuple(activations),
        owner=owner,
        merged={name: tuple(group) for name, group in merged.items()},
        fixed=fixed,
        layer=layer,
        weights=tuple(weights),
        constants=tuple(constants),
        biased=tuple(biased),
    )


def fused_activation(node: "ir.Node") -> "ir.Node | None":
    """The Relu or Clip that this node's result disappears into (rule 2), if there is one."""
    result = node.outputs[0]
    if node.op_type not in FUSES_ACTIVATION or result.is_graph_output():
        return None
    uses = list(result.uses())
    if len(uses) == 1 and uses[0].node.op_type in ACTIVATIONS and uses[0].idx == 0:
        return uses[0].node
    return None


def _layer_of(node: "ir.Node") -> str:
    """The node a user means by a result: of a fused activation, the node it is fused into."""
    producer = None if node.inputs[0] is None else node.inputs[0].producer()
    if producer is not None and fused_activation(producer) is node:
        return _name_of(producer)
    return _name_of(node)


def activation_bounds(node: "ir.Node") -> tuple[float, float | None]:
    """Lower and upper bound of a Relu or Clip; a Clip without a lower one starts at -inf."""
    if node.op_type == "Relu":
        return 0.0, None
    bounds = [
        None
        if value is None or value.const_value is None
        else float(value.const_value.numpy().item())
        for value in (*node.inputs[1:3], None, None)
    ]
    return (-math.inf if bounds[0] is None else bounds[0]), bounds[1]


def _owners(
    activations: list[str], source: dict[str, str], united: list[list[str]]
) -> dict[str, str]:
    """Union of everything that shares a scale; the owner is the earliest in graph order."""
    parent = {name: name for name in activations}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    rank = {name: index for index, name in enumerate(activations)}
    pairs = [*source.items(), *((group[0], other) for group in united for other in group[1:])]
    for first, second in pairs:
        low, high = sorted((find(first), find(second)), key=rank.__getitem__)
        parent[high] = low
    return {name: find(name) for name in activations}


def _place_constants(
    graph: "ir.Graph",
) -> tuple[list[WeightPlace], list[str], list[str]]:
    weights: list[WeightPlace] = []
    constants: list[str] = []
    biased: list[str] = []
    for node in graph:
        axis = WEIGHT_AXIS.get(node.op_type)
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None or not _is_float(value):
                continue
            if axis is not None and index == 1:
                if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0):
                    axis = 1
                if node.op_type == "MatMul":
                    axis = value.const_value.numpy().ndim - 1
                weights.append(WeightPlace(_name(value), _name_of(node), axis))
            elif not (axis is not None and index == 2) and not _is_bound(node, index):
                constants.append(_name(value))
        if (
            axis is not None
            and node.inputs[1] is not None
            and node.inputs[1].const_value is not None
        ):
            biased.append(_name_of(node))
    return weights, constants, biased


def _is_bound(node: "ir.Node", index: int) -> bool:
    """Limits of a Clip and the fill of a Pad are parameters, not tensors."""
    return node.op_type in ("Clip", "Pad", "Resize") and index > 0


def _is_float(value: "ir.Value") -> bool:
    import onnx_ir as ir

    return value.dtype is None or value.dtype == ir.DataType.FLOAT


def _name(value: "ir.Value | None") -> str:
    assert value is not None and value.name is not None
    return value.name


def _name_of(node: "ir.Node") -> str:
    assert node.name is not None
    return node.name
