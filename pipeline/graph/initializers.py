"""Constants of a graph."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray


def add_initializer(graph: "ir.Graph", name: str, array: "NDArray[np.generic]") -> "ir.Value":
    """Store an array as an initializer of the graph; the value that reads it."""
    import onnx_ir as ir

    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        const_value=tensor,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
    )
    graph.register_initializer(value)
    return value


def fresh_name(graph: "ir.Graph", wish: str) -> str:
    """`wish`, lengthened until no initializer of the graph has it."""
    while wish in graph.initializers:
        wish += "_"
    return wish
