"""Graph files: read, write, and what travels in their metadata."""

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifact import atomic_path
from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

LARGE = 4096
"""Bytes from which on a constant is kept as an array."""


def load_graph(path: Path) -> "ir.Model":
    """Read an ONNX file. Raises StageError where it is none."""
    import onnx
    import onnx_ir as ir

    try:
        proto = onnx.ModelProto()
        # Mapped, not read: pages of the file need no memory of their own.
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            proto.ParseFromString(memoryview(m))
        # A file of ours is whole, and the paths of a foreign one are not trusted.
        if any(external_tensors(proto)):
            raise StageError("keeps tensors in external files, which are not read", where=str(path))
        model = ir.from_proto(proto)
        _unpack_constants(model)
    except FileNotFoundError:
        raise StageError("there is no such file", where=str(path)) from None
    except StageError:
        raise
    except Exception as error:  # protobuf and onnx_ir raise errors without a public base class
        raise StageError(f"is not a readable ONNX file: {error}", where=str(path)) from error
    return model


def external_tensors(proto: "onnx.ModelProto") -> "Iterator[onnx.TensorProto]":
    """All tensors of a model whose bytes are in other files, wherever in the model they are."""
    found = _tensors(proto.graph)
    for function in proto.functions:
        found += [tensor for node in function.node for tensor in _tensors_of_node(node)]
    return (tensor for tensor in found if tensor.data_location == tensor.EXTERNAL)


def _tensors(graph: "onnx.GraphProto") -> "list[onnx.TensorProto]":
    sparse = [tensor for s in graph.sparse_initializer for tensor in (s.values, s.indices)]
    nodes = [tensor for node in graph.node for tensor in _tensors_of_node(node)]
    return [*graph.initializer, *sparse, *nodes]


def _tensors_of_node(node: "onnx.NodeProto") -> "list[onnx.TensorProto]":
    """Those that its attributes are, and those of the graphs in it."""
    found = []
    for attribute in node.attribute:
        found += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
        graphs = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
        found += [tensor for graph in graphs for tensor in _tensors(graph)]
    return found


def _unpack_constants(model: "ir.Model") -> None:
    """Keep initializers as arrays: protobuf would copy a tensor's bytes each time it is read."""
    import onnx_ir as ir

    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes >= LARGE:
            value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


def save_graph(model: "ir.Model", path: Path) -> None:
    """Write an ONNX file atomically, after ONNX's own checker has passed it."""
    import onnx
    import onnx_ir as ir

    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))


def set_preprocess(model: "ir.Model", preprocess: Preprocess) -> None:
    """Record in the model how images become its input, so that the file can be run by itself."""
    model.metadata_props[METADATA_KEY] = json.dumps(
        preprocess.model_dump(mode="json"), sort_keys=True
    )


def input_size(model: "ir.Model", where: str) -> tuple[int, int]:
    """Height and width of the only input, which has to be `[N, 3, H, W]`."""
    shape = model.graph.inputs[0].shape
    if shape is None or len(shape) != 4:
        raise StageError(f"the input is not an image: shape {shape}", where=where)
    height, width = shape[2], shape[3]
    if not isinstance(height, int) or not isinstance(width, int):
        raise StageError(f"the input has no fixed size: shape {shape}", where=where)
    return height, width


def class_count(model: "ir.Model", where: str) -> int:
    """Number of logits of the only output."""
    shape = model.graph.outputs[0].shape
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        raise StageError(f"the output is not a row of logits: shape {shape}", where=where)
    return shape[1]


def preprocess_in(model: "ir.Model", where: str) -> Preprocess:
    """The preprocessing that a file of ours carries. Raises StageError where there is none."""
    text = model.metadata_props.get(METADATA_KEY)
    if text is None:
        raise StageError("carries no preprocessing", where=where)
    try:
        return Preprocess.model_validate_json(text)
    except ValueError as error:
        raise StageError(f"its preprocessing is damaged: {error}", where=where) from None
