"""Compute what does not depend on the image: nodes of constants become constants.

Weights may come filled in by a ConstantOfShape, reshaped or transposed by a node each, and shapes
put together from pieces. Each such node is evaluated by ONNX's reference implementation. Only
operators that move or combine their inputs are, and how large a result will be is told before it is
made, so that a small file cannot ask for much: what all constants grow by is held to a limit.
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
"""Bytes by which all constants together may grow."""
FOLDED = frozenset({
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten", "Gather",
    "Mul", "Neg", "Pow", "Reciprocal", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where",
})  # fmt: skip

_SHAPED = ("ConstantOfShape", "Expand")
"""Whose last input is a shape."""
_ELEMENTWISE = ("Add", "Div", "Equal", "Mul", "Pow", "Sub", "Where")


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
        if grown + _most_bytes(node, arrays) > LARGEST:
            raise StageError(
                f"{node.op_type} {node.name or node.outputs[0].name!r} makes constants of more than "
                f"{LARGEST >> 30} GiB"
            )
        for output, result in zip(node.outputs, _evaluate(node, arrays), strict=True):
            name = fresh_name(graph, f"{output.name}_folded")
            constant = add_initializer(graph, name, result)
            grown += result.nbytes
            ir.convenience.replace_all_uses_with(output, constant, replace_graph_outputs=True)
        read = dict.fromkeys(value for value in node.inputs if value is not None)
        graph.remove(node, safe=True)
        folded += 1
        for value in read:
            if not value.uses() and not value.is_graph_output() and value.const_value is not None:
                grown -= value.const_value.nbytes
                del graph.initializers[value.name or ""]
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


def _most_bytes(node: "ir.Node", arrays: "list[NDArray[np.generic] | None]") -> int:
    """The most that a node's results can take."""
    given = [array for array in arrays if array is not None]
    if node.op_type in _SHAPED and given:
        sides = tuple(int(side) for side in given[-1].reshape(-1))
        if min(sides, default=0) < 0:
            raise StageError(
                f"{node.op_type} {node.name or node.outputs[0].name!r} has shape {list(sides)}"
            )
        values = _broadcast([sides, *(array.shape for array in given[:-1])])
    elif node.op_type in _ELEMENTWISE:
        values = _broadcast([array.shape for array in given])
    elif node.op_type == "Gather" and len(given) == 2:
        sides = given[0].shape
        axis = node.attributes.get_int("axis", 0)
        picked = sides[axis] if -len(sides) <= axis < len(sides) else 1
        values = given[0].size // max(picked, 1) * given[1].size
    else:  # what joins, parts or moves its inputs makes as many values
        values = sum(array.size for array in given)
    makes_its_own = node.op_type in ("Cast", "ConstantOfShape", "Shape")
    return values * (8 if makes_its_own else max((array.itemsize for array in given), default=8))


def _broadcast(shapes: "list[tuple[int, ...]]") -> int:
    """How many values there are when arrays of these shapes are computed with."""
    rank = max(map(len, shapes), default=0)
    full = ((1,) * (rank - len(shape)) + shape for shape in shapes)
    return math.prod(0 if 0 in sides else max(sides) for sides in zip(*full, strict=True))


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
