"""`export`: the PyTorch model as canonical ONNX, the float reference of every drop."""

from collections.abc import Mapping
from typing import Any

from pipeline.stages.npu_notes import note_for_npu
from pipeline.stages.stage import Settings, Stage, Work

GRAPH = "model.onnx"


def _options(settings: Settings) -> Mapping[str, Any]:
    return {"preprocess": settings.model_input.model_dump(mode="json")}


def _make(work: Work) -> Mapping[str, Any]:
    import torch

    from pipeline.graph.file import save_graph, set_preprocess
    from pipeline.graph.proof import pictures, require_same
    from pipeline.graph.tracing import graph_of_module
    from pipeline.sources.model_folder import load_model

    preprocess = work.settings.model_input
    model = load_model(work.taken["model"])
    graph = graph_of_module(model, preprocess.size)
    set_preprocess(graph, preprocess)
    crops = pictures(preprocess.size)
    torch.set_num_threads(work.threads)
    with torch.inference_mode():
        logits = model(torch.from_numpy(preprocess.normalization.apply(crops))).numpy()
    proof = require_same(graph, crops, logits, work.threads, "the exported model")
    save_graph(graph, work.folder / GRAPH)
    return {
        "opset": graph.opset_imports[""],
        "ir_version": graph.ir_version,
        "proof": proof,
        "npu_findings": note_for_npu(work, graph),
    }


STAGE = Stage(
    name="export",
    version=2,
    takes=("model",),
    gives={"graph": GRAPH},
    artifact="graph",
    format="onnx",
    options=_options,
    make=_make,
    tools=("torch", "timm", "onnx", "onnx_ir", "onnxruntime"),
)
