"""Compute what does not depend on the image: nodes of constants become constants.

Weights may come filled in by a ConstantOfShape, reshaped or transposed by a node each, and shapes
put together from pieces. Each such node is evaluated by ONNX's reference implementation. Only
operators that move or combine their inputs are, so that a small file cannot ask for much: what grows
is held to a limit.
"""

import math
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.graph.canonical import OPSET
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

LARGEST = 1 << 30
"""Bytes of a constant that a node may make, and of all that are grown."""
FOLDED = frozenset({
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten", "Gather",
    "Mul", "Neg", "Pow", "Reciprocal", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def fold_constants(graph: "ir.Graph") -> int:
    """Replace nodes of constants by constants, in place; how many. The opset has to be 13.

    Raises StageError where a constant would be too large.
    """
    import onnx_ir as ir

    folded, grown = 0, 0
    for node in list(graph):
        if node.op_type not in FOLDED:
            continue
        arrays = [_array(value) for value in node.inputs]
        if any(a is None and v is not None for a, v in zip(arrays, node.inputs, strict=True)):
            continue
        grown += _growth(node, arrays)
        if grown > LARGEST:
            raise StageError(
                f"{node.op_type} {node.name or node.outputs[0].name!r} makes constants of more than "
                f"{LARGEST >> 30} GiB"
            )
        for output, result in zip(node.outputs, _evaluate(node, arrays), strict=True):
            name = fresh_name(graph, f"{output.name}_folded")
            constant = add_initializer(graph, name, result)
            ir.convenience.replace_all_uses_with(output, constant, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        folded += 1
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        if not graph.initializers[name].is_graph_output():
            del graph.initializers[name]
    return folded


def _array(value: "ir.Value | None") -> "NDArray[np.generic] | None":
    """A constant's array; the known shape of an activation is no constant."""
    if value is None or value.const_value is None:
        return None
    found: NDArray[np.generic] = value.const_value.numpy()
    return found


def _growth(node: "ir.Node", arrays: "list[NDArray[np.generic] | None]") -> int:
    """Bytes of the result of a node that makes more of less; 0 of any other."""
    if node.op_type not in ("ConstantOfShape", "Expand"):
        return 0
    shape = arrays[-1]
    assert shape is not None
    sides = [int(side) for side in shape.reshape(-1)]
    if min(sides, default=0) < 0:
        raise StageError(f"{node.op_type} {node.name or node.outputs[0].name!r} has shape {sides}")
    return 8 * math.prod(sides)


def _evaluate(
    node: "ir.Node", arrays: "list[NDArray[np.generic] | None]"
) -> "list[NDArray[np.generic]]":
    """The results of one node."""
    import numpy as np
    import onnx
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
    names = [name for name in proto.input if name]
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names)],
        [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    feeds: dict[str, Any] = {
        name: array for name, array in zip(proto.input, arrays, strict=True) if array is not None
    }
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # whatever the reference implementation says of bad numbers
        raise StageError(
            f"{node.op_type} {node.name or node.outputs[0].name!r} cannot be computed: {error}"
        ) from error
    return [np.ascontiguousarray(result) for result in results]
