"""Read a `.synap` bundle from anywhere: a damaged or hostile file is an error in words.

The zip is `stored_zip.py`'s matter, the wiring `bundle_wiring.py`'s. Here: the JSON files are
small, are JSON without repeated keys and without NaN, hold what `bundle.py` says, and every entry
they name is there. Nothing is unpacked to disk.
"""

import json
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import ValidationError

from pipeline.errors import StageError
from pipeline.synap.bundle import Bundle, Graph, Meta, Node, Part, Subgraph
from pipeline.synap.bundle_wiring import wiring_faults
from pipeline.synap.stored_zip import Entry, read_directory, read_entry

MAX_JSON = 4 << 20
"""Bytes of a JSON entry; the toolkit's have a few kilobytes."""

_Part = TypeVar("_Part", bound=Part)


def read_bundle(path: Path) -> Bundle:
    """The bundle in the file at `path`, with every model in memory.

    Raises `StageError`: missing or unreadable, not a zip of stored entries, damaged (checksums
    are compared), or a `bundle.json` or meta that the runtime could not use.
    """
    where = str(path)
    if not path.is_file():
        raise StageError("there is no such bundle", where=where)
    try:
        with path.open("rb") as stream:
            return _read(stream, where)
    except OSError as error:
        raise StageError(f"cannot be read: {error}", where=where) from None


def _read(stream: BinaryIO, where: str) -> Bundle:
    entries = read_directory(stream, where)
    graph = _read_json(Graph, stream, entries, "bundle.json", where)
    taken = {"bundle.json"}
    subgraphs: list[Subgraph] = []
    for number, node in enumerate(graph.graph):
        for name in (node.model, node.meta):
            # Each entry belongs to one subgraph; without this, a small file could name one large
            # model a thousand times.
            if name in taken:
                raise StageError(f"the entry {name!r} is used twice", where=where)
            taken.add(name)
        subgraphs.append(_read_subgraph(number, node, stream, entries, where))
    faults = wiring_faults(subgraphs, graph.outputs)
    if faults:
        raise StageError(f"bundle.json: {'; '.join(faults)}", where=where)
    return Bundle(tuple(subgraphs), graph.outputs)


def _read_subgraph(
    number: int, node: Node, stream: BinaryIO, entries: dict[str, Entry], where: str
) -> Subgraph:
    meta = _read_json(Meta, stream, entries, node.meta, where)
    model = read_entry(stream, _find(entries, node.model, where), where)
    if not model:
        raise StageError(f"the model {node.model!r} is empty", where=where)
    if not node.inputs:
        raise StageError(f"bundle.json: subgraph {number} has no inputs", where=where)
    return Subgraph(model, meta, node.inputs, node.model.rsplit("/", 1)[-1])


def _find(entries: dict[str, Entry], name: str, where: str) -> Entry:
    if name not in entries:
        listed = ", ".join(list(entries)[:8])
        raise StageError(f"the entry {name!r} is missing", where=where, hint=f"it has: {listed}")
    return entries[name]


def _read_json(
    kind: type[_Part], stream: BinaryIO, entries: dict[str, Entry], name: str, where: str
) -> _Part:
    entry = _find(entries, name, where)
    if entry.size > MAX_JSON:
        raise StageError(f"{name}: {entry.size} bytes are too many for a JSON entry", where=where)
    content = read_entry(stream, entry, where)
    try:
        json.loads(content, object_pairs_hook=_unrepeated, parse_constant=_no_constant)
        return kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise StageError(f"{name}: {_in_words(error)}", where=where) from None
    except RecursionError:
        raise StageError(f"{name}: nested too deeply", where=where) from None
    except ValueError as error:
        raise StageError(f"{name}: not usable JSON: {error}", where=where) from None


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return data


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number of JSON")


def _in_words(error: ValidationError) -> str:
    """The first few things that pydantic refused, each with its place."""
    faults = error.errors()
    lines = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:3]
    ]
    if len(faults) > 3:
        lines.append(f"and {len(faults) - 3} more")
    return "; ".join(lines)
