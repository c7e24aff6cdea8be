"""Quantized TFLite with floats at its ends, as TensorFlow's converter writes it unless it is told
`inference_input_type` and `inference_output_type`: the QUANTIZE behind the input and the DEQUANTIZE in
front of the output go, so that the ends are the integers between them.

What runs in between stays as it is, byte for byte: the file's own lists are changed in place.
Signatures, which may not even say which tensor they name (0 is left out), are given up.
"""

import struct
from collections.abc import Mapping

from pipeline.errors import StageError
from pipeline.inspect.content import Damaged
from pipeline.inspect.flatbuffer import Flatbuffer
from pipeline.inspect.tflite_model import IDENTIFIER
from pipeline.lift.subgraph import Operator, Subgraph, read_subgraph

_SUBGRAPHS, _SIGNATURES = 2, 7
_INPUTS, _OUTPUTS, _OPERATORS = 1, 2, 3
"""Fields of the model and of a subgraph, by `schema.fbs`."""


def with_integer_ends(content: bytes, where: str) -> bytes:
    """The same model, taking and giving integers where it makes them of floats first thing and
    floats of them last thing; any other as it is. Raises StageError for what is no TFLite model."""
    subgraph = read_subgraph(content, where)
    ends = [end for end in (_first(subgraph), _last(subgraph)) if end is not None]
    moved: dict[int, int] = {}
    for end in ends:
        taken, given = end.inputs[0], end.outputs[0]
        real, integers = (taken, given) if end.kind == "QUANTIZE" else (given, taken)
        moved[real] = integers
    if not ends or len(subgraph.inputs) != 1 or len(subgraph.outputs) != 1:
        return content
    changed = bytearray(content)
    try:
        root = Flatbuffer(content).root(IDENTIFIER)
        main = root.tables(_SUBGRAPHS, 1, "subgraphs")[0]
        for field in (_INPUTS, _OUTPUTS):
            _replace(changed, main.vector(field, 4)[0], moved)
        for end in sorted(ends, key=lambda end: -end.place):
            _remove(changed, main.vector(_OPERATORS, 4)[0], end.place)
        signatures, count = root.vector(_SIGNATURES, 4)
    except Damaged as error:
        raise StageError(f"is not a readable TFLite model: {error}", where=where) from None
    if count:
        struct.pack_into("<I", changed, signatures - 4, 0)
    return bytes(changed)


def _first(subgraph: Subgraph) -> Operator | None:
    """The QUANTIZE that alone reads a float input."""
    if [tensor.dtype for tensor in subgraph.inputs] != ["float32"]:
        return None
    readers = subgraph.readers.get(subgraph.inputs[0].index, [])
    return readers[0] if [reader.kind for reader in readers] == ["QUANTIZE"] else None


def _last(subgraph: Subgraph) -> Operator | None:
    """The DEQUANTIZE that makes a float output which nothing else reads."""
    if [tensor.dtype for tensor in subgraph.outputs] != ["float32"]:
        return None
    index = subgraph.outputs[0].index
    maker = subgraph.makers.get(index)
    is_end = maker is not None and maker.kind == "DEQUANTIZE" and index not in subgraph.readers
    return maker if is_end else None


def _replace(content: bytearray, place: int, moved: Mapping[int, int]) -> None:
    (tensor,) = struct.unpack_from("<i", content, place)
    struct.pack_into("<i", content, place, moved.get(tensor, tensor))


def _remove(content: bytearray, start: int, index: int) -> None:
    """One entry of a list of tables; entries are distances, each from its own place."""
    (count,) = struct.unpack_from("<I", content, start - 4)
    for place in range(start + 4 * index, start + 4 * (count - 1), 4):
        (distance,) = struct.unpack_from("<I", content, place + 4)
        struct.pack_into("<I", content, place, distance + 4)
    struct.pack_into("<I", content, start - 4, count - 1)
