"""For a model that comes as TFLite: `export` for a float one, which becomes a canonical Graph, and
`lower` for a quantized one, which is handed over as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pipeline.artifact import atomic_path
from pipeline.errors import StageError
from pipeline.stages.export import GRAPH
from pipeline.stages.given_file import file_options, given_file, missing_file
from pipeline.stages.import_notes import note_import
from pipeline.stages.lower import TFLITE
from pipeline.stages.npu_notes import note_for_npu
from pipeline.stages.stage import Stage, Work


def _lift(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import input_size, save_graph
    from pipeline.graph.foreign import bring_in
    from pipeline.graph.memory import bounded_memory
    from pipeline.lift.lifting import TENSOR
    from pipeline.lift.operators import lift_tflite
    from pipeline.lift.proof import prove_same

    path, preprocess = given_file(work.settings), work.settings.model_input
    where, content = str(path), content_of_kind(path, "float")
    with bounded_memory(path):
        graph = lift_tflite(content, where)
        _require_size(input_size(graph, where), preprocess.size, path)
        came = bring_in(graph, preprocess, where)
        save_graph(graph, work.folder / GRAPH)
        logits = int(came.output.removeprefix(TENSOR))
        saved = work.folder / GRAPH
        difference = prove_same(content, logits, saved, preprocess, work.threads, where)
    note_import(work, came, graph, where)
    return {
        "file": path.name,
        "stripped": came.stripped,
        "largest_difference": difference,
        "npu_findings": note_for_npu(work, graph),
    }


def _take(work: Work) -> Mapping[str, Any]:
    from pipeline.lift.integer_ends import with_integer_ends
    from pipeline.lift.quantized import read_quantized

    path, preprocess = given_file(work.settings), work.settings.model_input
    given = content_of_kind(path, "quantized")
    content = with_integer_ends(given, str(path))
    model = read_quantized(content, str(path))
    if content != given:
        work.progress.note(
            f"{path.name} turns floats into integers at its ends; that is left out, so that boards "
            "hand over the picture's bytes"
        )
    _require_size(model.size, preprocess.size, path)
    for note in model.cautions(preprocess.normalization):
        work.progress.note(f"{path.name}: {note}")
    with atomic_path(work.folder / TFLITE) as temporary:
        temporary.write_bytes(content)
    return {
        "file": path.name,
        "data_type": model.input.dtype,
        "classes": model.classes,
        "operators": dict(model.operators),
    }


def content_of_kind(path: Path, wanted: Literal["float", "quantized"]) -> bytes:
    """The file, which has to be of the kind that the recipe says."""
    from pipeline.inspect.content import read_content
    from pipeline.inspect.tflite_file import tflite_contents

    content = read_content(path)
    found = tflite_contents(content, str(path)).quantization
    assert found is not None, "TFLite files have one"
    if found.kind == wanted:
        return content
    if found.kind == "weights only":
        raise StageError(
            f"has {found.data_type} weights and computes with floats, which the NPU has no form for",
            where=str(path),
            hint="convert the model again, without quantization or with all of it",
        )
    if wanted == "float":
        raise StageError(
            f"is quantized already, to {found.data_type}",
            where=str(path),
            hint="give it as `model: {source: quantized-tflite}`, or give the float model",
        )
    raise StageError(
        "is a float model",
        where=str(path),
        hint="give it as `model: {source: tflite}`, so that it is quantized here",
    )


def _require_size(found: tuple[int, int], size: int, path: Path) -> None:
    if found != (size, size):
        raise StageError(
            f"its input is {found[0]}x{found[1]}, but data.preprocess gives {size}x{size}",
            where=str(path),
            hint=f"give data.preprocess.size: {found[0]}" if found[0] == found[1] else "",
        )


FLOAT = Stage(
    name="export",
    version=2,
    takes=(),
    gives={"graph": GRAPH},
    artifact="graph",
    format="onnx",
    options=file_options,
    make=_lift,
    missing=lambda settings: missing_file(settings, "TFLite"),
    tools=("onnx", "onnx_ir", "ai-edge-litert", "onnxruntime"),
)
QUANTIZED = Stage(
    name="lower",
    version=1,
    takes=(),
    gives={"tflite": TFLITE},
    artifact="tflite",
    format="tflite",
    options=file_options,
    make=_take,
    missing=lambda settings: missing_file(settings, "TFLite"),
    tools=("ai-edge-litert",),
)
"""Stands where our own integer TFLite would: what comes behind does not know the difference."""
