"""Pack the QDQ ONNX for the runtime's CPU delegate."""

import tempfile
from pathlib import Path
from typing import Any

from pipeline.artifact import write_text
from pipeline.errors import StageError
from pipeline.synap.bundle import Subgraph
from pipeline.synap.bundle_write import write_bundle
from pipeline.synap.cpu_meta import cpu_onnx_meta
from pipeline.synap.metafile import classifier_metafile
from pipeline.synap.metafile_check import dump_metafile

RUNTIME_OPSET = 19
RUNTIME_IR = 9
"""What the runtime's ONNX Runtime 1.16.3 reads; a model beyond it aborts the process."""


def write_cpu_bundle(qdq: Path, path: Path, metafile: Path | None = None) -> None:
    """Write a bundle of one ONNX subgraph, its batch size fixed to 1, and, where a path for it is
    given, the metafile with which the toolkit would make the same.

    Raises StageError where the runtime could not run it.
    """
    from pipeline.graph.canonical import fix_batch
    from pipeline.graph.file import (
        class_count,
        input_size,
        load_graph,
        preprocess_in,
        save_graph,
    )

    model = load_graph(qdq)
    opset = model.opset_imports.get("", 0)
    if opset > RUNTIME_OPSET or model.ir_version > RUNTIME_IR:
        raise StageError(
            f"opset {opset} and IR {model.ir_version} are beyond the runtime's {RUNTIME_OPSET} "
            f"and {RUNTIME_IR}",
            where=str(qdq),
        )
    normalization = preprocess_in(model, str(qdq))
    if len(set(normalization.std)) != 1:
        raise StageError(
            f"SyNAP knows one scale for all channels, but std is {list(normalization.std)}",
            where=str(qdq),
        )
    fix_batch(model, 1)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        fixed = Path(scratch) / "model.onnx"
        save_graph(model, fixed)
        content = fixed.read_bytes()
    image, scores = model.graph.inputs[0], model.graph.outputs[0]
    tensors: dict[str, Any] = {
        "input_name": image.name or "",
        "input_shape": (1, 3, *input_size(model, str(qdq))),
        # Rounded to a millionth of a grey level: 255 * (127 / 255) is to be 127.
        "means": [round(255 * mean, 6) for mean in normalization.mean],
        "scale": round(255 * normalization.std[0], 6),
        "output_name": scores.name or "",
        "output_shape": (1, class_count(model, str(qdq))),
    }
    write_bundle(path, [Subgraph(content, cpu_onnx_meta(**tensors))])
    if metafile is not None:
        text = dump_metafile(classifier_metafile(delegate="cpu", **tensors), "onnx")
        write_text(metafile, text)
