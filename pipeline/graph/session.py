"""An ONNX Runtime session of a Graph in memory, which reads the Graph's weights where they are.

Serializing 165 MB of weights, only to have them parsed again, costs as much as running twenty
images. So the model is handed over with its large constants marked external, and their arrays
are given beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    import onnxruntime
    from numpy.typing import NDArray

LARGE = 4096
"""Bytes from which on a constant is worth the detour. Small ones may be shapes and the like, which
ONNX Runtime wants to see while it infers shapes."""
_PLAIN = ("FLOAT", "UINT8", "INT8", "INT32")


def session_of(
    graph: "ir.Model", threads: int, *, where: str = "", optimize: bool = True, spin: bool = True
) -> "onnxruntime.InferenceSession":
    """A session of the graph, which is left as it was. Raises StageError, which names `where`, if it
    is refused."""
    import onnx_ir as ir

    from pipeline.runners.onnx import make_session

    with _weights_aside(graph) as weights:
        content = ir.to_proto(graph).SerializeToString()
    return make_session(
        content, threads, where=where, optimize=optimize, spin=spin, weights=weights
    )


@contextmanager
def _weights_aside(graph: "ir.Model") -> "Iterator[dict[str, NDArray[np.generic]]]":
    """The large constants by name; until the end, the graph only says that they are elsewhere."""
    import numpy as np
    import onnx_ir as ir

    kept: dict[str, ir.TensorProtocol] = {}
    weights: dict[str, NDArray[np.generic]] = {}
    constants = graph.graph.initializers
    for name, value in constants.items():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < LARGE or tensor.dtype.name not in _PLAIN:
            continue
        kept[name] = tensor
        array = weights[name] = np.ascontiguousarray(tensor.numpy())
        value.const_value = ir.ExternalTensor(
            "memory", 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(array.shape), name=name
        )
    try:
        yield weights
    finally:
        for name, tensor in kept.items():
            constants[name].const_value = tensor
