"""Fold batch normalizations away.

In evaluation mode a batch norm is `y = x * a + b` per channel with `a = gamma / sqrt(var + eps)`
and `b = beta - mean * a` (Ioffe and Szegedy, arXiv 1502.03167, section 3.1). After a convolution
that nothing else reads, `a` goes into its weights and `b` into its bias; anywhere else the batch
norm becomes a Mul and an Add.
"""

from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray


def fold_batch_norms(graph: "ir.Graph") -> None:
    """Replace every BatchNormalization of the graph, in place. Shapes have to be inferred before.

    Raises StageError for one whose parameters are not constant.
    """
    for node in list(graph):
        if node.op_type == "BatchNormalization":
            factor, shift = _affine(node)
            source = node.inputs[0]
            producer = None if source is None else source.producer()
            if (
                source is not None
                and producer is not None
                and producer.op_type == "Conv"
                and _is_constant(producer.inputs[1])
                and all(
                    value is None or value.const_value is not None for value in producer.inputs[2:]
                )
                and len(source.uses()) == 1
                and not source.is_graph_output()
            ):
                _fold_into_conv(graph, producer, node, factor, shift)
                _bypass(graph, node)
            else:
                _replace_by_mul_add(graph, node, factor, shift)


def _is_constant(value: "ir.Value | None") -> bool:
    return value is not None and value.const_value is not None and len(value.uses()) == 1


def _array(value: "ir.Value | None") -> "NDArray[np.float64]":
    import numpy as np

    assert value is not None and value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)


def _affine(node: "ir.Node") -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    import numpy as np

    # How opset 13 says that it normalizes by the batch itself.
    if any(output.name for output in node.outputs[1:]):
        raise StageError(f"BatchNormalization {node.name!r} is in training mode")
    if any(value is None or value.const_value is None for value in node.inputs[1:5]):
        raise StageError(f"BatchNormalization {node.name!r} has parameters that are not constant")
    gamma, beta, mean, variance = (_array(value) for value in node.inputs[1:5])
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    factor = gamma / np.sqrt(variance + epsilon)
    return factor, beta - mean * factor


def _initializer(graph: "ir.Graph", name: str, array: "NDArray[np.float64]") -> "ir.Value":
    import numpy as np

    return add_initializer(graph, fresh_name(graph, name), array.astype(np.float32))


def _fold_into_conv(
    graph: "ir.Graph",
    conv: "ir.Node",
    norm: "ir.Node",
    factor: "NDArray[np.float64]",
    shift: "NDArray[np.float64]",
) -> None:
    weight = _array(conv.inputs[1])
    has_bias = len(conv.inputs) > 2 and conv.inputs[2] is not None
    bias = _array(conv.inputs[2]) * factor + shift if has_bias else shift
    scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    conv.replace_input_with(1, _initializer(graph, f"{norm.outputs[0].name}_weight", scaled))
    folded = _initializer(graph, f"{norm.outputs[0].name}_bias", bias)
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, folded)


def _bypass(graph: "ir.Graph", node: "ir.Node") -> None:
    import onnx_ir as ir

    assert node.inputs[0] is not None
    ir.convenience.replace_all_uses_with(
        node.outputs[0], node.inputs[0], replace_graph_outputs=True
    )
    graph.remove(node, safe=True)


def _replace_by_mul_add(
    graph: "ir.Graph",
    node: "ir.Node",
    factor: "NDArray[np.float64]",
    shift: "NDArray[np.float64]",
) -> None:
    import onnx_ir as ir

    result = node.outputs[0]
    if result.shape is None:
        raise StageError(f"BatchNormalization {node.name!r} has a result of unknown shape")
    shape = (1, -1, *[1] * (len(result.shape) - 2))
    multiply = ir.node(
        "Mul",
        [node.inputs[0], _initializer(graph, f"{result.name}_factor", factor.reshape(shape))],
        name=f"{node.name}/Mul",
    )
    add = ir.node(
        "Add",
        [multiply.outputs[0], _initializer(graph, f"{result.name}_shift", shift.reshape(shape))],
        name=f"{node.name}/Add",
    )
    add.outputs[0].shape, add.outputs[0].type = result.shape, result.type
    graph.insert_before(node, [multiply, add])
    ir.convenience.replace_all_uses_with(result, add.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
