"""Tensors that an ONNX file stores: their types, shapes and places, and the numbers of small ones.

Field numbers from `onnx.proto`'s TensorProto (ONNX 1.19).
"""

import math
import struct
from dataclasses import dataclass, field

from pipeline.inspect.content import Damaged
from pipeline.inspect.printable import printable
from pipeline.inspect.protobuf import Span, Wire, block, number

MAX_RANK = 64
MAX_NUMBERS = 65_536
"""Numbers that are read of one constant, such as the scales of channels."""
MAX_COUNT = 2**48
"""Numbers that any tensor may claim to have."""
TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
    19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
    24: "float8e8m0", 25: "uint2", 26: "int2",
}  # fmt: skip
_FORMS = {
    "float32": "f", "float64": "d", "float16": "e", "uint8": "B", "int8": "b", "uint16": "H",
    "int16": "h", "int32": "i", "int64": "q", "uint32": "I", "uint64": "Q",
}  # fmt: skip
"""`struct` forms of the types whose raw bytes are read."""
_EXTERNAL = 1
_LONGEST = 10
"""Bytes of a number, at most."""
# Where a TensorProto keeps its numbers.
_FLOATS, _INT32S, _INT64S, _RAW, _DOUBLES, _UINT64S = 4, 5, 7, 9, 10, 11
_FIXED = {_FLOATS: "f", _DOUBLES: "d"}


@dataclass(frozen=True)
class Constant:
    """An initializer, or what a Constant node gives."""

    name: bytes
    dtype: str
    dims: tuple[int, ...]
    external: str | None
    """The file that holds it, where another file does."""
    pieces: tuple[tuple[int, int | Span], ...] = field(repr=False)
    """By field, where its numbers are."""

    @property
    def count(self) -> int:
        return math.prod(self.dims)


def read_tensor(wire: Wire, span: Span) -> Constant:
    """A TensorProto. Raises Damaged where its shape is impossible or not that of its bytes."""
    name, dtype = b"", "unknown"
    dims: list[int] = []
    pieces: list[tuple[int, int | Span]] = []
    is_external, location = False, ""
    for key, value in wire.fields(span):
        if key == 1:
            dims += [number(value)] if isinstance(value, int) else wire.varints(value)
            if len(dims) > MAX_RANK or any(side < 0 for side in dims):
                raise Damaged("a tensor has no possible shape")
        elif key == 2:
            dtype = type_name(number(value))
        elif key == 8:
            name = wire.bytes_of(value)
        elif key == 13:
            location = _location(wire, block(value)) or location
        elif key == 14:
            is_external = number(value) == _EXTERNAL
        elif key in (_FLOATS, _INT32S, _INT64S, _RAW, _DOUBLES, _UINT64S) and (
            len(pieces) <= MAX_NUMBERS
        ):
            pieces.append((key, value))
    constant = Constant(
        name, dtype, tuple(dims), (location or "?") if is_external else None, tuple(pieces)
    )
    _check_size(constant)
    return constant


def _check_size(constant: Constant) -> None:
    """Raise Damaged where a tensor's shape is beyond any file, or not that of its raw bytes."""
    if constant.count > MAX_COUNT:
        raise Damaged(f"the tensor {printable(constant.name)!r} has no possible shape")
    raw = [value for key, value in constant.pieces if key == _RAW]
    if constant.external is not None or not raw or constant.dtype not in _FORMS:
        return
    start, end = block(raw[-1])
    needed = constant.count * struct.calcsize(f"<{_FORMS[constant.dtype]}")
    if end - start != needed:
        raise Damaged(
            f"the tensor {printable(constant.name)!r} is {list(constant.dims)} in "
            f"{constant.dtype}, which are {needed} bytes, but has {end - start}"
        )


def _location(wire: Wire, span: Span) -> str | None:
    """The `location` of an entry that says where a tensor lies."""
    key_text, text = b"", b""
    for key, value in wire.fields(span):
        if key == 1:
            key_text = wire.bytes_of(value)
        elif key == 2:
            text = wire.bytes_of(value)
    return printable(text) if key_text == b"location" else None


def numbers_in(wire: Wire, constant: Constant) -> tuple[int | float, ...] | None:
    """The numbers of a constant, None of a type or a field that no scale or zero point has."""
    values: list[int | float] = []
    blocks = [value for _, value in constant.pieces if not isinstance(value, int)]
    if sum(end - start for start, end in blocks) > _LONGEST * MAX_NUMBERS:
        return None  # more than the few that its shape says
    for key, value in constant.pieces:
        if key == _RAW:
            content, form = wire.bytes_of(value), _FORMS.get(constant.dtype)
        elif key in _FIXED:
            content, form = wire.bytes_of(value), _FIXED[key]
        elif isinstance(value, int):
            values.append(number(value))
            continue
        else:
            values += wire.varints(value)
            continue
        if form is None or len(content) % struct.calcsize(f"<{form}"):
            return None
        values += [item for (item,) in struct.iter_unpack(f"<{form}", content)]
    return tuple(values)


def type_name(code: int) -> str:
    """ONNX's element types in numpy's words."""
    return TYPES.get(code, f"type {code}")
