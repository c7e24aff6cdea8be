"""Graph files: read, write, and what travels in their metadata."""

import json
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifact import atomic_path
from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError

if TYPE_CHECKING:
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
        model = ir.from_proto(proto)
    except FileNotFoundError:
        raise StageError("there is no such file", where=str(path)) from None
    except Exception as error:  # protobuf and onnx_ir raise errors without a public base class
        raise StageError(f"is not a readable ONNX file: {error}", where=str(path)) from error
    # A file of ours is whole, and the paths of a foreign one are not trusted.
    if any(tensor.data_location == tensor.EXTERNAL for tensor in proto.graph.initializer):
        raise StageError("keeps tensors in external files, which are not read", where=str(path))
    _unpack_constants(model)
    return model


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
