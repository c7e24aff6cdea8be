"""MindSpore checkpoints (`.ckpt`), read without MindSpore.

The file is a protobuf `Checkpoint` (`checkpoint.proto` of MindSpore, the same since version 1):

    Checkpoint  { repeated Value value = 1; }
    Value       { string tag = 1; TensorProto tensor = 2; MapTensorProto maptensor = 3; }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }

A tensor of more than 512 MiB is cut into several values of the same tag, one behind the other,
each with the dims of the whole. With `crc_check` the text `crc_num` and the CRC-32 of everything
before it, in ten big-endian bytes, stand at the end.
"""

import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipeline.errors import StageError
from pipeline.inspect.content import Damaged, read_content
from pipeline.inspect.printable import printable
from pipeline.inspect.protobuf import Span, Wire, block, number

if TYPE_CHECKING:
    import torch

TYPES = {
    "Float16": "float16", "BFloat16": "bfloat16", "Float32": "float32", "Float64": "float64",
    "Int8": "int8", "UInt8": "uint8", "Int16": "int16", "Int32": "int32", "Int64": "int64",
    "Bool": "bool",
}  # fmt: skip
"""torch's names of MindSpore's types; integers are of counters that training leaves."""
MAX_RANK = 8
_CRC_MARK, _CRC_BYTES = b"crc_num", 10
_HINT = "give a .ckpt as mindspore.save_checkpoint writes it, not encrypted"


@dataclass
class _Tensor:
    dims: tuple[int, ...]
    type: str
    pieces: list[Span] = field(default_factory=list)


def read_checkpoint(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint by name, on the CPU, in the types they are stored in.

    Raises StageError that names the file if it cannot be read, is cut short, damaged or encrypted,
    holds anything but dense tensors, or a name twice.
    """
    content = _checked(read_content(path), path)
    wire = Wire(content)
    try:
        described = _describe(wire)
        if not described:
            raise Damaged("it holds no tensors")
        return {name: _tensor(wire, name, tensor) for name, tensor in described.items()}
    except Damaged as error:
        raise StageError(
            f"this is no MindSpore checkpoint, or a damaged one: {error}",
            where=str(path),
            hint=_HINT,
        ) from error


def _checked(content: bytes, path: Path) -> bytes:
    """The protobuf without the checksum behind it, if there is one and it is right."""
    end = len(content) - len(_CRC_MARK) - _CRC_BYTES
    if end < 0 or content[end : end + len(_CRC_MARK)] != _CRC_MARK:
        return content
    crc = zlib.crc32(memoryview(content)[:end])
    if crc != int.from_bytes(content[-_CRC_BYTES:]):
        raise StageError(
            "the checkpoint is damaged: its checksum is not that of its content",
            where=str(path),
            hint="get the file again",
        )
    return content[:end]


def _describe(wire: Wire) -> dict[str, _Tensor]:
    """Every tensor's form and the places of its bytes."""
    found: dict[str, _Tensor] = {}
    last = ""
    for key, value in wire.fields(wire.whole):
        if key != 1:
            raise Damaged(f"it has a field {key} beside its tensors")
        name, part = _read_value(wire, block(value))
        if name != last:
            if name in found:
                raise Damaged(f"{printable(name)!r} stands in it twice")
            found[name], last = part, name
        elif (found[name].dims, found[name].type) != (part.dims, part.type):
            raise Damaged(f"the parts of {printable(name)!r} are of different forms")
        else:
            found[name].pieces += part.pieces
    return found


def _read_value(wire: Wire, span: Span) -> tuple[str, _Tensor]:
    once = _once(wire, span, {1, 2, 3}, "a value")
    if 1 not in once:
        raise Damaged("a tensor has no name")
    raw = wire.bytes_of(once[1])
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged(f"the name {printable(raw)!r} is not UTF-8") from None
    if not name or 2 not in once or 3 in once:
        raise Damaged(f"{printable(name)!r} is no dense tensor")
    return name, _read_tensor(wire, name, block(once[2]))


def _read_tensor(wire: Wire, name: str, span: Span) -> _Tensor:
    dims: list[int] = []
    once: dict[int, int | Span] = {}
    for key, value in wire.fields(span):
        if key == 1:
            dims += [number(value)] if isinstance(value, int) else wire.varints(value)
        elif key not in (2, 3) or key in once:
            _refuse_field(key, f"the tensor {printable(name)!r}")
        else:
            once[key] = value
        if len(dims) > MAX_RANK or any(side < 0 for side in dims):
            raise Damaged(f"the tensor {printable(name)!r} has no possible shape")
    if 2 not in once or 3 not in once:
        raise Damaged(f"the tensor {printable(name)!r} has no type or no content")
    stated = printable(wire.bytes_of(once[2]))
    if stated not in TYPES:
        raise Damaged(f"{printable(name)!r} is of the type {stated!r}, which is not read")
    # MindSpore writes the shape of a single number as [0], or as nothing.
    shape = () if dims == [0] else tuple(dims)
    return _Tensor(shape, TYPES[stated], [block(once[3])])


def _once(wire: Wire, span: Span, known: set[int], what: str) -> dict[int, int | Span]:
    """Fields that may stand once in a message, and no others."""
    found: dict[int, int | Span] = {}
    for key, value in wire.fields(span):
        if key not in known or key in found:
            _refuse_field(key, what)
        found[key] = value
    return found


def _refuse_field(key: int, what: str) -> NoReturn:
    raise Damaged(f"{what} has an unknown or repeated field {key}")


def _tensor(wire: Wire, name: str, stored: _Tensor) -> "torch.Tensor":
    import torch

    type: torch.dtype = getattr(torch, stored.type)
    # Compared before anything is allocated: the shape is only a claim.
    needed = math.prod(stored.dims) * type.itemsize
    given = sum(end - start for start, end in stored.pieces)
    if needed != given:
        raise Damaged(
            f"the tensor {printable(name)!r} is {list(stored.dims)} in {stored.type}, which are "
            f"{needed} bytes, but has {given}"
        )
    if not needed:
        if math.prod(side or 1 for side in stored.dims) >= 1 << 63:
            raise Damaged(f"the tensor {printable(name)!r} has no possible shape")
        return torch.empty(stored.dims, dtype=type)
    # A copy of its own, which can be written to.
    content = bytearray().join(wire.bytes_of(piece) for piece in stored.pieces)
    return torch.frombuffer(content, dtype=type).reshape(stored.dims)
