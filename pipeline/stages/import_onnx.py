"""`export` for a model that comes as float ONNX: the file as canonical Graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.errors import Missing, StageError
from pipeline.stages.export import GRAPH
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    import onnx_ir as ir


def _missing(settings: Settings) -> list[Missing]:
    if settings.weights is None:
        return [Missing("the ONNX file", "give it with WEIGHTS=file or --weights file")]
    if not settings.weights.is_file():
        return [Missing(f"the ONNX file: there is no {settings.weights}", "mend the path")]
    return []


def _options(settings: Settings) -> Mapping[str, Any]:
    assert settings.weights is not None
    digest = digest_of_path(settings.weights)
    expected = settings.recipe.recipe.model.sha256
    if expected is not None and digest != expected:
        raise StageError(
            f"has the digest {digest}, and the recipe expects {expected}",
            where=str(settings.weights),
        )
    return {"file": digest, "preprocess": settings.model_input.model_dump(mode="json")}


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.file import input_size, load_graph, save_graph, set_preprocess

    assert work.settings.weights is not None
    where, preprocess = str(work.settings.weights), work.settings.model_input
    graph = load_graph(work.settings.weights)
    _require_classifier(graph, where)
    if input_size(graph, where) != (preprocess.size, preprocess.size):
        raise StageError(
            f"its input is {input_size(graph, where)}, but data.preprocess gives "
            f"{preprocess.size}x{preprocess.size}",
            where=where,
        )
    canonicalize(graph)
    set_preprocess(graph, preprocess)
    save_graph(graph, work.folder / GRAPH)
    return {"file": Path(where).name, "opset": graph.opset_imports[""]}


def _require_classifier(graph: "ir.Model", where: str) -> None:
    inputs = [v for v in graph.graph.inputs if v.name not in graph.graph.initializers]
    if len(inputs) != 1 or len(graph.graph.outputs) != 1:
        raise StageError(
            f"has {len(inputs)} inputs and {len(graph.graph.outputs)} outputs; a classifier of one "
            "image input and one logits output is needed",
            where=where,
        )
    quantized = [node.op_type for node in graph.graph if "Quantize" in node.op_type]
    if quantized:
        raise StageError(
            f"is quantized already ({quantized[0]}); a float model is needed", where=where
        )


STAGE = Stage(
    name="export",
    version=1,
    takes=(),
    gives={"graph": GRAPH},
    artifact="graph",
    format="onnx",
    options=_options,
    make=_make,
    missing=_missing,
    tools=("onnx", "onnx_ir"),
)
