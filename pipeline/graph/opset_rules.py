"""How single nodes are rewritten for opset 13; the rules are numbered in `opset.py`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.graph.canonical import OPSET
from pipeline.graph.initializers import add_initializer, fresh_name
from pipeline.graph.later_operators import SPELLED_OUT

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

NEUTRAL = {
    "allowzero": 0, "antialias": 0, "dilations": 1, "end": None, "keep_aspect_ratio_policy": "stretch",
    "noop_with_empty_axes": 0, "saturate": 1, "start": 0, "training_mode": 0, "block_size": 0,
    "output_dtype": 0, "precision": 0, "round_mode": "up",
}  # fmt: skip
"""Rule 8: attributes that came after opset 13, and what they say where nothing is new."""


class NoForm(Exception):
    """Why a node cannot be said in opset 13."""


def schema_of(operator: str, opset: int) -> "onnx.defs.OpSchema | None":
    """ONNX's schema of an operator; None where that opset has none."""
    import onnx

    try:
        found = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None
    return None if found.deprecated else found


Rewrite = Callable[["ir.Graph", "ir.Node"], None]
_BEFORE: dict[str, tuple[int, tuple[str, ...]]] = {
    "Clip": (11, ("min", "max")),
    "Pad": (11, ("pads", "value")),
    "Slice": (10, ("starts", "ends", "axes")),
    "Squeeze": (13, ("axes",)),
    "Unsqueeze": (13, ("axes",)),
    "ReduceSum": (13, ("axes",)),
    "Split": (13, ("split",)),
}
"""Rule 1: the opset since which these attributes are inputs, behind the first."""
_REDUCTIONS = tuple(
    f"Reduce{kind}"
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)


def rule_for(node: "ir.Node", opset: int) -> Rewrite | None:
    """How a node of this opset is rewritten; None where it is not."""
    operator = node.op_type
    if opset < OPSET:
        if operator in ("Upsample", "Resize") and opset < 11:
            return _resize
        if operator in _BEFORE and opset < _BEFORE[operator][0]:
            return _attributes_to_inputs
        if operator in ("Softmax", "LogSoftmax", "Hardmax"):
            return _softmax
        return _not_spatial if operator == "BatchNormalization" else None
    if operator in SPELLED_OUT and schema_of(operator, OPSET) is None:
        return lambda graph, node: _spell_out(graph, node)
    if operator in _REDUCTIONS and opset >= 18:
        return _axes_to_attribute
    if operator == "Shape":
        return _part_of_shape
    if operator == "Pad":
        return _pad_all_axes
    return _drop_neutral


def _constant(graph: "ir.Graph", node: "ir.Node", role: str, values: Any, dtype: str) -> "ir.Value":
    import numpy as np

    name = fresh_name(graph, f"{node.outputs[0].name}_{role}")
    return add_initializer(graph, name, np.asarray(values, dtype))


def _integers(node: "ir.Node", index: int) -> list[int] | None:
    """A constant input; None where there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    if value.const_value is None:
        raise NoForm(f"input {index} is not constant")
    return [int(number) for number in value.const_value.numpy().reshape(-1)]


def _attributes_to_inputs(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 1."""
    names = _BEFORE[node.op_type][1]
    values: list[ir.Value | None] = []
    for name in names:
        attribute = node.attributes.pop(name, None)
        if attribute is None:
            values.append(None)
        else:
            dtype = "float32" if name in ("min", "max", "value") else "int64"
            values.append(_constant(graph, node, name, attribute.value, dtype))
    while values and values[-1] is None:
        values.pop()
    node.resize_inputs(1 + len(values))
    for index, value in enumerate(values):
        node.replace_input_with(index + 1, value)


def _softmax(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 2."""
    import onnx_ir as ir

    axis = node.attributes.get_int("axis", 1)
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is None:
        raise NoForm("it runs over a tensor of unknown rank")
    axis %= len(shape)
    if any(side != 1 for side in list(shape)[axis + 1 :]):
        raise NoForm(f"it runs over all dimensions of {shape} from {axis} on")
    node.attributes["axis"] = ir.AttrInt64("axis", axis)


def _resize(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 3."""
    import onnx_ir as ir

    scales = node.attributes.pop("scales", None)
    factors = (
        node.inputs[1]
        if scales is None
        else _constant(graph, node, "scales", scales.value, "float32")
    )
    node.op_type = "Resize"
    node.resize_inputs(3)
    node.replace_input_with(1, _constant(graph, node, "roi", [], "float32"))
    node.replace_input_with(2, factors)
    for name, word in (
        ("coordinate_transformation_mode", "asymmetric"),
        ("nearest_mode", "floor"),
    ):
        node.attributes[name] = ir.AttrString(name, word)


def _not_spatial(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 4."""
    spatial = node.attributes.pop("spatial", None)
    if spatial is not None and spatial.as_int() != 1:
        raise NoForm("it normalizes every pixel by itself (spatial=0)")


def _axes_to_attribute(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 5."""
    import onnx_ir as ir

    axes = _integers(node, 1)
    idle = node.attributes.pop("noop_with_empty_axes", None)
    if not axes and idle is not None and idle.as_int():
        raise NoForm("it does nothing (noop_with_empty_axes)")
    node.resize_inputs(1)
    if axes:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)


def _spell_out(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 6."""
    import onnx_ir as ir

    made, result = SPELLED_OUT[node.op_type](
        node, lambda role, values: _constant(graph, node, role, values, "float32")
    )
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise NoForm("more than its first result is used")
    for number, part in enumerate(made):
        part.name = f"{node.name or node.outputs[0].name}/{part.op_type}{number}"
    result.shape, result.type = node.outputs[0].shape, node.outputs[0].type
    graph.insert_before(node, made)
    ir.convenience.replace_all_uses_with(node.outputs[0], result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _part_of_shape(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 7."""
    import onnx_ir as ir

    start, end = (node.attributes.pop(name, None) for name in ("start", "end"))
    if start is None and end is None:
        return
    whole = ir.node("Shape", [node.inputs[0]], name=f"{node.name}/Shape")
    bounds = [
        _constant(graph, node, "start", [0 if start is None else start.as_int()], "int64"),
        _constant(graph, node, "end", [2**31 - 1 if end is None else end.as_int()], "int64"),
    ]
    graph.insert_before(node, whole)
    node.op_type = "Slice"
    node.resize_inputs(3)
    for index, value in enumerate([whole.outputs[0], *bounds]):
        node.replace_input_with(index, value)


def _pad_all_axes(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 7."""
    axes = _integers(node, 3)
    pads = None if axes is None else _integers(node, 1)
    if axes is not None and pads is not None:
        shape = None if node.inputs[0] is None else node.inputs[0].shape
        if shape is None:
            raise NoForm("it pads a tensor of unknown rank")
        rank = len(shape)
        every = [0] * (2 * rank)
        for index, axis in enumerate(axes):
            every[axis % rank] = pads[index]
            every[rank + axis % rank] = pads[len(axes) + index]
        node.replace_input_with(1, _constant(graph, node, "pads", every, "int64"))
        node.resize_inputs(3)
    if node.attributes.get_string("mode", "constant") == "wrap":
        raise NoForm("mode wrap")


def _drop_neutral(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 8."""
    schema = schema_of(node.op_type, OPSET)
    for name in (
        [] if schema is None else [n for n in node.attributes if n not in schema.attributes]
    ):
        value = node.attributes[name].value
        if node.op_type == "Split" and name == "num_outputs":
            _require_even_split(node, int(value))
        elif name not in NEUTRAL or not _says(value, NEUTRAL[name]):
            if name == "allowzero" and 0 not in (_integers(node, 1) or [0]):
                pass
            else:
                raise NoForm(f"attribute {name} = {value}")
        del node.attributes[name]


def _says(value: Any, neutral: Any) -> bool:
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        return all(item == neutral for item in value)
    return bool(value == neutral)


def _require_even_split(node: "ir.Node", parts: int) -> None:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    side = None if shape is None else shape[node.attributes.get_int("axis", 0)]
    if not isinstance(side, int) or parts < 1 or side % parts:
        raise NoForm(f"it splits {side} values into {parts} parts")
