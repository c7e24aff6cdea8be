"""Operators that came after opset 13, spelled out in those of opset 13 as ONNX defines them.

A new one is a function and a line in `SPELLED_OUT`.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir

Constant = Callable[[str, float], "ir.Value"]
"""A new float constant of the graph: a role in its name, and its value."""
Spelled = tuple[list["ir.Node"], "ir.Value"]
"""Nodes in order, and the last one's result."""


def _hard_swish(node: "ir.Node", constant: Constant) -> Spelled:
    """`x * max(0, min(1, x / 6 + 0.5))`."""
    import onnx_ir as ir

    gate = ir.node("HardSigmoid", [node.inputs[0]], attributes={"alpha": 1 / 6, "beta": 0.5})
    product = ir.node("Mul", [node.inputs[0], gate.outputs[0]])
    return [gate, product], product.outputs[0]


def _mish(node: "ir.Node", constant: Constant) -> Spelled:
    """`x * tanh(log(1 + exp(x)))`."""
    import onnx_ir as ir

    soft = ir.node("Softplus", [node.inputs[0]])
    gate = ir.node("Tanh", [soft.outputs[0]])
    product = ir.node("Mul", [node.inputs[0], gate.outputs[0]])
    return [soft, gate, product], product.outputs[0]


def _gelu(node: "ir.Node", constant: Constant) -> Spelled:
    """`x / 2 * (1 + erf(x / sqrt(2)))`, or its approximation by tanh."""
    import onnx_ir as ir

    x = node.inputs[0]
    if node.attributes.get_string("approximate", "none") == "tanh":
        square = ir.node("Mul", [x, x])
        cube = ir.node("Mul", [square.outputs[0], x])
        part = ir.node("Mul", [cube.outputs[0], constant("cube", 0.044715)])
        total = ir.node("Add", [x, part.outputs[0]])
        scaled = ir.node("Mul", [total.outputs[0], constant("root", math.sqrt(2 / math.pi))])
        bent = ir.node("Tanh", [scaled.outputs[0]])
        first = [square, cube, part, total, scaled, bent]
    else:
        scaled = ir.node("Mul", [x, constant("root", math.sqrt(0.5))])
        bent = ir.node("Erf", [scaled.outputs[0]])
        first = [scaled, bent]
    more = ir.node("Add", [bent.outputs[0], constant("one", 1.0)])
    product = ir.node("Mul", [x, more.outputs[0]])
    half = ir.node("Mul", [product.outputs[0], constant("half", 0.5)])
    return [*first, more, product, half], half.outputs[0]


def _layer_normalization(node: "ir.Node", constant: Constant) -> Spelled:
    """`(x - mean) / sqrt(variance + epsilon) * scale + shift` over the dimensions from `axis` on."""
    import onnx_ir as ir

    x = node.inputs[0]
    axis = node.attributes.get_int("axis", -1)
    if axis >= 0:  # of a tensor of unknown rank only the count from the end can be told
        if x is None or x.shape is None:
            raise StageError(f"LayerNormalization {node.name}: its input has no known rank")
        axis -= len(x.shape)
    axes: dict[str, Any] = {"axes": list(range(axis, 0)), "keepdims": 1}
    epsilon = constant("epsilon", node.attributes.get_float("epsilon", 1e-5))
    mean = ir.node("ReduceMean", [x], attributes=axes)
    centred = ir.node("Sub", [x, mean.outputs[0]])
    square = ir.node("Mul", [centred.outputs[0], centred.outputs[0]])
    variance = ir.node("ReduceMean", [square.outputs[0]], attributes=axes)
    safe = ir.node("Add", [variance.outputs[0], epsilon])
    deviation = ir.node("Sqrt", [safe.outputs[0]])
    unit = ir.node("Div", [centred.outputs[0], deviation.outputs[0]])
    made = [mean, centred, square, variance, safe, deviation, unit]
    made.append(ir.node("Mul", [unit.outputs[0], node.inputs[1]]))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        made.append(ir.node("Add", [made[-1].outputs[0], node.inputs[2]]))
    return made, made[-1].outputs[0]


SPELLED_OUT: dict[str, Callable[["ir.Node", Constant], Spelled]] = {
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_normalization,
    "Mish": _mish,
}
