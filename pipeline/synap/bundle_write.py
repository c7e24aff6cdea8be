"""Write a `.synap` bundle; equal content gives equal bytes.

The layout is the toolkit's: `bundle.json`, then model and meta of each subgraph in a folder of
its number, stored, dated 1980.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifact import atomic_path
from pipeline.errors import StageError
from pipeline.synap.bundle import Graph, Node, Source, Subgraph
from pipeline.synap.bundle_wiring import wiring_faults
from pipeline.synap.stored_zip import MAX_ARCHIVE, MAX_ENTRIES, is_safe_name

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_MODE = 0o600 << 16
_OVERHEAD = 1024
"""Room for an entry's headers, in bytes."""


def write_bundle(path: Path, subgraphs: Sequence[Subgraph], outputs: Sequence[Source] = ()) -> None:
    """Write `subgraphs` to `path`, whole or not at all.

    `outputs` names the tensors that are the bundle's outputs; left empty, they are all outputs of
    the last subgraph. Raises `StageError` for what could not be read back.
    """
    where = str(path)
    if not subgraphs:
        raise StageError("a bundle without a subgraph", where=where)
    last = len(subgraphs) - 1
    sinks = tuple(outputs) or tuple(
        Source(subgraph=last, out=number) for number in range(len(subgraphs[last].outputs))
    )
    faults = wiring_faults(subgraphs, sinks)
    if faults:
        raise StageError("; ".join(faults), where=where)
    entries: dict[str, bytes] = {}
    nodes: list[Node] = []
    for number, subgraph in enumerate(subgraphs):
        if not subgraph.model:
            raise StageError(f"the model of subgraph {number} is empty", where=where)
        model = f"{number}/{subgraph.name or _toolkit_name(subgraph, number)}"
        meta = f"{model.removesuffix(Path(model).suffix)}.json"
        for name, content in ((model, subgraph.model), (meta, subgraph.meta.to_json().encode())):
            if name in entries or not is_safe_name(name):
                raise StageError(f"{name!r} cannot be the name of an entry", where=where)
            entries[name] = content
        nodes.append(Node(inputs=subgraph.wiring, model=model, meta=meta))
    graph = Graph(graph=tuple(nodes), outputs=sinks)
    _write_zip(path, {"bundle.json": graph.to_json().encode(), **entries})


def _toolkit_name(subgraph: Subgraph, number: int) -> str:
    """What the toolkit calls the model file of this subgraph."""
    engine = subgraph.meta.delegate.split()[0]
    return "model.nb" if engine == "npu" else f"subgraph_{number}.{engine}"


def _write_zip(path: Path, entries: dict[str, bytes]) -> None:
    size = sum(len(content) + _OVERHEAD for content in entries.values())
    if size > MAX_ARCHIVE or len(entries) > MAX_ENTRIES:
        raise StageError(
            f"{len(entries)} entries of {size} bytes are more than a bundle can hold",
            where=str(path),
        )
    try:
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, content in entries.items():
                entry = zipfile.ZipInfo(name, _EPOCH)
                # The rest of what a zip says of an entry, which would follow the machine.
                entry.create_system = _UNIX
                entry.external_attr = _MODE
                archive.writestr(entry, content, zipfile.ZIP_STORED)
    except OSError as error:
        raise StageError(f"cannot be written: {error}", where=str(path)) from None
