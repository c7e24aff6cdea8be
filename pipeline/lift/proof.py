"""That a Graph is the function of the TFLite file it was lifted from: LiteRT and ONNX Runtime give the
same logits for the pictures that every model of others is tried on (`graph/proof.py`)."""

import struct
import tempfile
from pathlib import Path

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.proof import TOLERANCE, pictures

_OUTPUTS = 8
"""Where a subgraph's vtable says where its outputs are."""


def prove_same(
    content: bytes, logits: int, graph: Path, preprocess: Preprocess, threads: int, where: str
) -> float:
    """The largest difference of a logit between the file, of which `logits` is the tensor with that
    number, and the Graph, which declares its own normalization.

    Raises StageError where either cannot be run, or where it is too large.
    """
    import numpy as np

    from pipeline.runners import open_runner

    crops = pictures(preprocess.size)
    with tempfile.TemporaryDirectory(dir=graph.parent) as scratch:
        file = Path(scratch) / "logits.tflite"
        file.write_bytes(with_output(content, logits))
        theirs = open_runner("tflite", file, preprocess.normalization, threads)(crops)
    ours = open_runner("onnx", graph, None, threads)(crops)
    if ours.shape != theirs.shape:
        raise StageError(
            f"the Graph gives logits of shape {ours.shape}, LiteRT {theirs.shape}", where=where
        )
    difference, largest = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    if not difference <= TOLERANCE * largest + 1e-6:  # not a number is too much as well
        raise StageError(
            f"the Graph is not the same function: a logit differs by {difference:.3g}, and the "
            f"largest is {largest:.3g}",
            where=where,
            hint="this is a fault of the import; please report it with the file",
        )
    return difference


def with_output(content: bytes, tensor: int) -> bytes:
    """The file with this tensor as its only output, for what a last SOFTMAX would hide."""
    from ai_edge_litert import schema_py_generated as schema

    table = schema.Model.GetRootAs(content, 0).Subgraphs(0)._tab
    changed = bytearray(content)
    struct.pack_into("<i", changed, table.Vector(table.Offset(_OUTPUTS)), tensor)
    return bytes(changed)
