"""ONNX files that others made: read whole, external data included, without trusting them.

A file may keep tensors in other files and names those by a path, which can be anything. So a path
counts only where it is relative, has no `..`, and leads, links followed, to a plain file in the
ONNX file's own folder; and a tensor only where the bytes it names are there and are as many as its
type and shape take.
"""

import logging
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.file import external_tensors, load_graph

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

LARGEST = 4 << 30
"""Bytes of a model with all its data; the largest classifiers have a tenth."""


def load_foreign(path: Path) -> "ir.Model":
    """Read an ONNX file with its external data, all of it into memory.

    Raises StageError where it is none, where it is too large, or where its data is not to be had.
    """
    where, found = str(path), external_files(path)
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what it says of a damaged model is found out below
    try:
        model = _load_with_data(path, found) if found else load_graph(path)
    finally:
        logger.setLevel(level)
    for node in model.graph:  # so that whoever speaks of it can name it
        node.name = node.name or next((value.name for value in node.outputs if value.name), "")
    _require_whole(model, where)
    _drop_unread_inputs(model.graph)
    return model


def _drop_unread_inputs(graph: "ir.Graph") -> None:
    """tf2onnx leaves the constants of Keras' Normalization as inputs that nothing reads any more."""
    unread = [
        value
        for value in graph.inputs
        if not (value.uses() or value.is_graph_output() or value.name in graph.initializers)
    ]
    if len(unread) < len(graph.inputs):
        for value in unread:
            graph.inputs.remove(value)


def _load_with_data(path: Path, found: dict[str, Path]) -> "ir.Model":
    import onnx_ir as ir

    proto = _parse(path)
    contents = {name: file.read_bytes() for name, file in found.items()}
    read = 0
    for tensor in external_tensors(proto):
        _embed(tensor, contents, str(path))
        read += len(tensor.raw_data)
        if read > LARGEST:  # many tensors may name the same bytes
            raise StageError(f"names more than {LARGEST >> 30} GiB of data", where=str(path))
    try:
        return ir.from_proto(proto)
    except Exception as error:  # as in load_graph
        raise StageError(f"is not a readable ONNX file: {error}", where=str(path)) from error


def external_files(path: Path) -> dict[str, Path]:
    """The files of a model's external data that are there, by the names the model gives them.

    Raises StageError for a name that leads out of the folder, for a file that is not there, and for
    more data than a classifier has.
    """
    where = str(path)
    if path.is_file() and path.stat().st_size > LARGEST:
        raise StageError(f"is larger than {LARGEST >> 30} GiB", where=where)
    names = sorted({_location(tensor) for tensor in external_tensors(_parse(path))})
    files = {name: _inside(path.parent, name, where) for name in names}
    if sum(file.stat().st_size for file in set(files.values())) > LARGEST:
        raise StageError(f"its external data is larger than {LARGEST >> 30} GiB", where=where)
    return files


def _parse(path: Path) -> "onnx.ModelProto":
    import onnx

    try:
        return onnx.load(str(path), load_external_data=False)
    except FileNotFoundError:
        raise StageError("there is no such file", where=str(path)) from None
    except Exception as error:  # protobuf raises errors without a public base class
        raise StageError(f"is not a readable ONNX file: {error}", where=str(path)) from error


def _require_whole(model: "ir.Model", where: str) -> None:
    """Put the nodes in order; everything that one reads has to be there."""
    graph = model.graph
    for node in graph:
        for value in node.inputs:
            if value is not None and not _is_given(value):
                raise StageError(
                    f"is damaged: {node.op_type} {node.name or node.outputs[0].name!r} reads "
                    f"{value.name!r}, which nothing gives",
                    where=where,
                )
    for value in graph.outputs:
        if not _is_given(value):
            raise StageError(f"is damaged: nothing gives its output {value.name!r}", where=where)
    try:
        graph.sort()
    except ValueError as error:
        raise StageError("is damaged: its nodes run in a circle", where=where) from error


def _is_given(value: "ir.Value") -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _location(tensor: "onnx.TensorProto") -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _inside(folder: Path, name: str, where: str) -> Path:
    """The file of this name in the folder."""
    windows = PureWindowsPath(name)
    if (
        not name
        or "\0" in name
        or PurePosixPath(name).is_absolute()
        or windows.is_absolute()
        or windows.drive
        or ".." in windows.parts
    ):
        raise StageError(
            f"names {name!r} for its data, which is no place in its own folder; it is not followed",
            where=where,
            hint="save the model again with all its data in one file or beside it",
        )
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise StageError(
            f"its data {name!r} is a link that leads out of its folder; it is not followed",
            where=where,
            hint="put the file itself there",
        )
    if not file.is_file():
        raise StageError(
            f"keeps its weights in {name!r}, and there is no such file beside it",
            where=where,
            hint="copy it there, under this name",
        )
    return file


def _embed(tensor: "onnx.TensorProto", contents: dict[str, bytes], where: str) -> None:
    """Put a tensor's bytes into the model, as many as its type and shape say."""
    import math

    import onnx_ir as ir

    facts = {entry.key: entry.value for entry in tensor.external_data}
    content = contents[_location(tensor)]
    try:
        size = math.ceil(ir.DataType(tensor.data_type).itemsize * math.prod(tensor.dims))
        offset, length = int(facts.get("offset", 0)), int(facts.get("length", size))
    except (ValueError, TypeError) as error:
        raise StageError(
            f"the external data of {tensor.name!r} is described wrongly: {error}", where=where
        ) from None
    if min(offset, size, *tensor.dims, 0) < 0 or length != size or offset + size > len(content):
        raise StageError(
            f"the external data of {tensor.name!r} is damaged: {size} bytes are needed, "
            f"{length} from {offset} are named, and {_location(tensor)!r} has {len(content)}",
            where=where,
        )
    tensor.raw_data = content[offset : offset + size]
    tensor.data_location = tensor.DEFAULT
    del tensor.external_data[:]
