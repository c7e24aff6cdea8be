"""Bring a model of opset 7 or later to opset 13, the only one behind `import`.

Which operators changed in between is not listed here: ONNX's own schemas say how a node may be
written in opset 13, and one that cannot be is refused by operator and node. What needs a hand:

 1. Up: what was an attribute is an input (Clip and Pad before 11, Slice before 10; Squeeze,
    Unsqueeze, ReduceSum and Split before 13).
 2. Up: Softmax and its kin ran over all dimensions from `axis` on before 13, and over `axis` alone
    since; the same where `axis` is the last or those behind it have one value.
 3. Up: Upsample and the first Resize are a Resize from the corner, nearest rounding down.
 4. Up: a BatchNormalization that is `spatial`, as all are in practice, loses the word.
 5. Down: what is an input was an attribute (`axes` of the reductions before 18).
 6. Down: operators that came later are spelled out (HardSwish, Mish, Gelu, LayerNormalization).
 7. Down: part of a Shape is a Slice of it; a Pad of some axes names all of them.
 8. Down: an attribute that came later goes where its value says what was always done.

The function is not trusted to be the same but proved (`proof.py`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.graph.canonical import OPSET
from pipeline.graph.initializers import add_initializer, fresh_name
from pipeline.graph.later_operators import SPELLED_OUT

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

OLDEST = 7
NEUTRAL = {
    "allowzero": 0, "antialias": 0, "dilations": 1, "end": None, "keep_aspect_ratio_policy": "stretch",
    "noop_with_empty_axes": 0, "saturate": 1, "start": 0, "training_mode": 0, "block_size": 0,
    "output_dtype": 0, "precision": 0, "round_mode": "up",
}  # fmt: skip
"""Rule 8: attributes that came after opset 13, and what they say where nothing is new."""


def to_opset_13(model: "ir.Model", where: str) -> int:
    """Rewrite the model in place; the opset that it had. Shapes have to be inferred before.

    Raises StageError for everything that opset 13 cannot say, all at once.
    """
    opset = _require_known(model, where)
    if opset == OPSET:
        _require_form(model.graph, where, opset)
        return opset
    problems = []
    for node in list(model.graph):
        try:
            rewrite = _rule(node, opset)
            if rewrite is not None:
                rewrite(model.graph, node)
        except _NoForm as reason:
            problems.append(f"{_named(node)}: {reason}")
    if problems:
        raise _refusal(problems, where, opset)
    model.opset_imports[""] = OPSET
    _require_form(model.graph, where, opset)
    return opset


class _NoForm(Exception):
    """Why a node cannot be said in opset 13."""


def _named(node: "ir.Node") -> str:
    return f"{node.op_type} {node.name or node.outputs[0].name!r}"


def _refusal(problems: list[str], where: str, opset: int) -> StageError:
    shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if problems[5:] else "")
    return StageError(
        f"opset {opset} cannot be brought to opset {OPSET}: {shown}",
        where=where,
        hint=f"export the model to opset {OPSET}",
    )


def _require_known(model: "ir.Model", where: str) -> int:
    """The opset, in a model whose operators are all ONNX's own, without graphs inside of nodes."""
    import onnx
    import onnx_ir as ir

    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise StageError(
            f"has opset {opset}; those from {OLDEST} to {newest} are read",
            where=where,
            hint=f"export the model to opset {OPSET}",
        )
    for node in model.graph:
        if node.domain not in ("", "ai.onnx"):
            raise StageError(
                f"{_named(node)} belongs to {node.domain}, not to ONNX",
                where=where,
                hint="give the model as it was before it was optimized for one runtime",
            )
        kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        if any(attribute.type in kinds for attribute in node.attributes.values()):
            raise StageError(
                f"{_named(node)} decides while the model runs what to compute, and has no place in "
                "a fixed graph",
                where=where,
                hint="export the model by tracing, without control flow",
            )
        node.domain = ""
    for domain in [name for name in model.opset_imports if name]:
        del model.opset_imports[domain]
    model.opset_imports[""] = opset
    return opset


def _require_form(graph: "ir.Graph", where: str, opset: int) -> None:
    """Every node is written as opset 13 has it."""
    problems = []
    for node in graph:
        schema = _schema(node.op_type, OPSET)
        if schema is None:
            problems.append(f"{_named(node)}: it came later, or was given up")
            continue
        strange = [name for name in node.attributes if name not in schema.attributes]
        if strange:
            problems.append(f"{_named(node)}: attribute {strange[0]}")
        elif not schema.min_input <= len(node.inputs) <= schema.max_input:
            problems.append(f"{_named(node)}: {len(node.inputs)} inputs")
        elif len(node.outputs) > schema.max_output:
            problems.append(f"{_named(node)}: {len(node.outputs)} outputs")
    if problems:
        raise _refusal(problems, where, opset)


def _schema(operator: str, opset: int) -> "onnx.defs.OpSchema | None":
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


def _rule(node: "ir.Node", opset: int) -> Rewrite | None:
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
    if operator in SPELLED_OUT and _schema(operator, OPSET) is None:
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
        raise _NoForm(f"input {index} is not constant")
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
        raise _NoForm("it runs over a tensor of unknown rank")
    axis %= len(shape)
    if any(side != 1 for side in list(shape)[axis + 1 :]):
        raise _NoForm(f"it runs over all dimensions of {shape} from {axis} on")
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
        raise _NoForm("it normalizes every pixel by itself (spatial=0)")


def _axes_to_attribute(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 5."""
    import onnx_ir as ir

    axes = _integers(node, 1)
    idle = node.attributes.pop("noop_with_empty_axes", None)
    if not axes and idle is not None and idle.as_int():
        raise _NoForm("it does nothing (noop_with_empty_axes)")
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
        raise _NoForm("more than its first result is used")
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
    axes, pads = _integers(node, 3), _integers(node, 1)
    if axes is not None and pads is not None:
        shape = None if node.inputs[0] is None else node.inputs[0].shape
        if shape is None:
            raise _NoForm("it pads a tensor of unknown rank")
        rank = len(shape)
        every = [0] * (2 * rank)
        for index, axis in enumerate(axes):
            every[axis % rank] = pads[index]
            every[rank + axis % rank] = pads[len(axes) + index]
        node.replace_input_with(1, _constant(graph, node, "pads", every, "int64"))
        node.resize_inputs(3)
    if node.attributes.get_string("mode", "constant") == "wrap":
        raise _NoForm("mode wrap")


def _drop_neutral(graph: "ir.Graph", node: "ir.Node") -> None:
    """Rule 8."""
    schema = _schema(node.op_type, OPSET)
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
                raise _NoForm(f"attribute {name} = {value}")
        del node.attributes[name]


def _says(value: Any, neutral: Any) -> bool:
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        return all(item == neutral for item in value)
    return bool(value == neutral)


def _require_even_split(node: "ir.Node", parts: int) -> None:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    side = None if shape is None else shape[node.attributes.get_int("axis", 0)]
    if not isinstance(side, int) or side % parts:
        raise _NoForm(f"it splits {side} values into {parts} parts")
