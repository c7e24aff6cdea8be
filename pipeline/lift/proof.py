"""That a Graph is the function of the TFLite file it was lifted from: LiteRT and ONNX Runtime give the
same logits for the pictures that every model of others is tried on (`graph/proof.py`)."""

import struct
import tempfile
from pathlib import Path

from pipeline.data.preprocess import Preprocess
from pipeline.graph.proof import pictures, require_same

_OUTPUTS = 8
"""Where a subgraph's vtable says where its outputs are."""


def prove_same(
    content: bytes, logits: int, graph: Path, preprocess: Preprocess, threads: int, where: str
) -> float:
    """The largest difference of a logit between the file, of which `logits` is the tensor with that
    number, and the Graph, which declares its own normalization.

    Raises StageError where either cannot be run, or where it is too large.
    """
    from pipeline.graph.file import load_graph
    from pipeline.runners import open_runner

    crops = pictures(preprocess.size)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "logits.tflite"
        file.write_bytes(with_output(content, logits))
        theirs = open_runner("tflite", file, preprocess.normalization, threads)(crops)
    proof = require_same(load_graph(graph), crops, theirs, threads, where)
    return float(proof["largest_difference"])


def with_output(content: bytes, tensor: int) -> bytes:
    """The file with this tensor as its only output, for what a last SOFTMAX would hide."""
    from ai_edge_litert import schema_py_generated as schema

    table = schema.Model.GetRootAs(content, 0).Subgraphs(0)._tab
    changed = bytearray(content)
    struct.pack_into("<i", changed, table.Vector(table.Offset(_OUTPUTS)), tensor)
    return bytes(changed)
