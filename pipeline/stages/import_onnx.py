"""`export` for a model that comes as float ONNX: the file as canonical Graph, proved to be the same."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.errors import Missing, StageError
from pipeline.stages.export import GRAPH
from pipeline.stages.given_file import file_options, given_file, missing_file
from pipeline.stages.import_notes import note_import
from pipeline.stages.npu_notes import note_for_npu
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    import onnx_ir as ir


def missing_onnx(settings: Settings) -> list[Missing]:
    """What a model that comes as ONNX lacks: the file, or those that its weights are in."""
    missing = missing_file(settings, "ONNX")
    if not missing:
        from pipeline.graph.foreign_file import external_files

        try:
            external_files(given_file(settings))
        except StageError as error:
            missing.append(
                Missing(
                    f"a readable ONNX file: {error.where} {error.what}", error.hint or "mend it"
                )
            )
    return missing


def onnx_options(settings: Settings) -> Mapping[str, Any]:
    """What the file is, with the digests of the files that its weights are in."""
    from pipeline.graph.foreign_file import external_files

    data = external_files(given_file(settings))
    digests = {name: digest_of_path(file) for name, file in data.items()}
    return {**file_options(settings), "external": digests}


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import save_graph
    from pipeline.graph.foreign import bring_in
    from pipeline.graph.foreign_file import load_foreign
    from pipeline.graph.memory import bounded_memory
    from pipeline.graph.precision import runnable
    from pipeline.graph.proof import prove

    path, preprocess = given_file(work.settings), work.settings.model_input
    where = str(path)
    with bounded_memory(path):
        original = load_foreign(path)
        _require_float(original, where)
        graph = original.clone()
        came = bring_in(graph, preprocess, where)
        original = runnable(original, came.precisions, where)
        proof = prove(original, came, preprocess, graph, work.threads, where)
        save_graph(graph, work.folder / GRAPH)
    note_import(work, came, graph, where)
    findings = note_for_npu(work, graph)
    return {"file": path.name, **asdict(came), "proof": proof, "npu_findings": findings}


def _require_float(model: "ir.Model", where: str) -> None:
    from pipeline.quant.qdq_read import is_quantized, refuse_integer_operators

    refuse_integer_operators(model.graph, where)
    if is_quantized(model.graph):
        raise StageError(
            "is quantized already: it has QuantizeLinear and DequantizeLinear",
            where=where,
            hint="give it as `model: {source: quantized-onnx}`, or give the float model",
        )


STAGE = Stage(
    name="export",
    version=4,
    takes=(),
    gives={"graph": GRAPH},
    artifact="graph",
    format="onnx",
    options=onnx_options,
    make=_make,
    missing=missing_onnx,
    tools=("onnx", "onnx_ir", "onnxruntime"),
)
