"""Factors and shifts per channel that stand alone: into the convolution before them, or together.

Caffe writes a batch norm and its scale as two layers, and ONNX files made from it as a
BatchNormalization (a Mul and an Add after `batch_norm.py`, or part of the convolution), a Mul and an
Add.

Rules, for constants of one value, or of one for every channel:
 1. A Mul or an Add behind a convolution that nothing else reads goes into its weights and bias.
 2. Of a Mul or an Add behind a Mul or an Add of the same kind, nothing else reading it, one is left.
 3. `(x + b) * a` is `x * a + b * a`, so that rule 2 finds what belongs together.
"""

from typing import TYPE_CHECKING

from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray


def fold_channel_scales(graph: "ir.Graph") -> int:
    """Apply the rules in place until nothing changes; how many nodes they saved. Shapes have to be
    inferred before."""
    before, now = len(graph) + 1, len(graph)
    first = now
    while now < before:
        _fold_once(graph)
        before, now = now, len(graph)
    return first - now


def _fold_once(graph: "ir.Graph") -> None:
    for node in list(graph):
        if node.op_type not in ("Mul", "Add"):
            continue
        found = _constant_of(node)
        while found is not None:
            source, values = found
            producer = source.producer()
            if producer is None or len(source.uses()) != 1 or source.is_graph_output():
                break
            if producer.op_type == "Conv":
                if _into_convolution(graph, producer, node.op_type, values):
                    _bypass(graph, node, source)
                break
            inner = _constant_of(producer)
            if inner is None:
                break
            if producer.op_type == node.op_type:
                _together(graph, node, values, *inner)
                graph.remove(producer, safe=True)
                found = _constant_of(node)
            elif node.op_type == "Mul":
                _multiply_first(graph, producer, node, values, *inner)
                node = producer  # now the Mul, with an Add behind it
                found = _constant_of(node)
            else:
                break


def _constant_of(node: "ir.Node") -> "tuple[ir.Value, NDArray[np.float64]] | None":
    """What a Mul or Add computes with: the tensor `[N, C, H, W]`, and a constant `[C]` or `[1]`."""
    import numpy as np

    if node.op_type not in ("Mul", "Add"):
        return None
    for source, constant in (node.inputs, tuple(reversed(node.inputs))):
        if source is None or constant is None or constant.const_value is None:
            continue
        array = np.asarray(constant.const_value.numpy())
        if source.const_value is not None or source.shape is None or len(source.shape) != 4:
            return None
        if array.dtype != np.float32 or array.ndim > 4:
            return None
        full = (1,) * (4 - array.ndim) + array.shape
        if full[0] == full[2] == full[3] == 1 and full[1] in (1, source.shape[1]):
            return source, array.reshape(-1).astype(np.float64)
    return None


def _into_convolution(
    graph: "ir.Graph", conv: "ir.Node", operator: str, values: "NDArray[np.float64]"
) -> bool:
    """Rule 1; whether the convolution's weights can take it up."""
    import numpy as np

    constants = [conv.inputs[1], conv.inputs[2] if len(conv.inputs) > 2 else None]
    weight = constants[0]
    if weight is None or any(v is not None and v.const_value is None for v in constants):
        return False
    assert weight.const_value is not None
    filters = np.asarray(weight.const_value.numpy(), np.float64)
    bias = np.zeros(len(filters))
    if constants[1] is not None and constants[1].const_value is not None:
        bias = np.asarray(constants[1].const_value.numpy(), np.float64)
    if operator == "Mul":
        filters = filters * values.reshape(-1, *[1] * (filters.ndim - 1))
        conv.replace_input_with(1, _stored(graph, conv, "weight", filters))
        bias = bias * values
    else:
        bias = bias + values
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, _stored(graph, conv, "bias", bias))
    return True


def _together(
    graph: "ir.Graph",
    node: "ir.Node",
    values: "NDArray[np.float64]",
    source: "ir.Value",
    inner: "NDArray[np.float64]",
) -> None:
    """Rule 2: `node` does what it and the one before it did."""
    both = values * inner if node.op_type == "Mul" else values + inner
    _set(graph, node, source, both)


def _multiply_first(
    graph: "ir.Graph",
    add: "ir.Node",
    multiply: "ir.Node",
    values: "NDArray[np.float64]",
    source: "ir.Value",
    shift: "NDArray[np.float64]",
) -> None:
    """Rule 3, by exchanging what the two nodes are."""
    add.op_type, multiply.op_type = "Mul", "Add"
    _set(graph, add, source, values)
    _set(graph, multiply, add.outputs[0], shift * values)


def _set(
    graph: "ir.Graph", node: "ir.Node", source: "ir.Value", values: "NDArray[np.float64]"
) -> None:
    node.replace_input_with(0, source)
    node.replace_input_with(1, _stored(graph, node, "constant", values.reshape(1, -1, 1, 1)))


def _stored(
    graph: "ir.Graph", node: "ir.Node", role: str, values: "NDArray[np.float64]"
) -> "ir.Value":
    name = fresh_name(graph, f"{node.outputs[0].name}_{role}")
    return add_initializer(graph, name, values.astype("float32"))


def _bypass(graph: "ir.Graph", node: "ir.Node", source: "ir.Value") -> None:
    import onnx_ir as ir

    ir.convenience.replace_all_uses_with(node.outputs[0], source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
