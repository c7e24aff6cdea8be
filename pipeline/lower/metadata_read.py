"""Read the metadata of TFLite files, whoever wrote them."""

import struct
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.lower.metadata import NORMALIZATION_OPTIONS

if TYPE_CHECKING:
    from flatbuffers.table import Table


def entries_of(content: bytes) -> dict[str, bytes]:
    """The buffers of metadata by name, of a file that LiteRT has accepted."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    entries = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Buffer() < model.BuffersLength() and entry.Name() is not None:
            data = model.Buffers(entry.Buffer())
            if not data.DataIsNone():
                entries[entry.Name().decode(errors="replace")] = data.DataAsNumpy().tobytes()
    return entries


def normalization_in(metadata: bytes, where: str) -> "tuple[list[float], list[float]] | None":
    """Means and deviations of the first input in units of bytes, one for all channels or one for
    each, as a `ModelMetadata` flatbuffer says; None where it does not.

    Raises StageError where it is damaged.
    """
    from flatbuffers.table import Table

    try:
        (start,) = struct.unpack_from("<I", metadata, 0)
        root = Table(metadata, start)
        for subgraph in _tables(root, 3)[:1]:
            for tensor in _tables(subgraph, 2)[:1]:
                for unit in _tables(tensor, 4):
                    options = _option(unit)
                    if options is not None:
                        return _floats(options, 0), _positive(_floats(options, 1))
    except (struct.error, ValueError, IndexError, TypeError) as error:
        raise StageError(f"its TFLite metadata are damaged: {error}", where=where) from None
    return None


def _option(unit: "Table") -> "Table | None":
    """The options of a process unit, if they are a normalization's."""
    from flatbuffers import number_types
    from flatbuffers.table import Table

    kind, place = unit.Offset(4), unit.Offset(6)
    if not kind or not place:
        return None
    if unit.Get(number_types.Uint8Flags, kind + unit.Pos) != NORMALIZATION_OPTIONS:
        return None
    return Table(unit.Bytes, unit.Indirect(place + unit.Pos))


def _vector(table: "Table", slot: int) -> tuple[int, int]:
    """Where the four-byte elements of a vector begin, and how many they are."""
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return 0, 0
    start, length = table.Vector(offset), table.VectorLen(offset)
    if start + 4 * length > len(table.Bytes):
        raise ValueError("a list is longer than the file")
    return start, length


def _tables(table: "Table", slot: int) -> "list[Table]":
    from flatbuffers.table import Table

    start, length = _vector(table, slot)
    return [Table(table.Bytes, table.Indirect(start + 4 * index)) for index in range(length)]


def _positive(deviations: list[float]) -> list[float]:
    if not all(deviation > 0 for deviation in deviations):
        raise ValueError("a deviation is not positive")
    return deviations


def _floats(table: "Table", slot: int) -> list[float]:
    start, length = _vector(table, slot)
    values: Any = struct.unpack_from(f"<{length}f", table.Bytes, start)
    return list(values)
