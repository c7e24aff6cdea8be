"""`export`: the PyTorch model as canonical ONNX, the float reference of every drop."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.stages.npu_notes import note_for_npu
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    import torch

GRAPH = "model.onnx"


def _options(settings: Settings) -> Mapping[str, Any]:
    return {"preprocess": settings.model_input.model_dump(mode="json")}


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.file import load_graph, save_graph, set_preprocess
    from pipeline.sources.model_folder import load_model

    preprocess = work.settings.model_input
    model = load_model(work.taken["model"])
    with tempfile.TemporaryDirectory(dir=work.folder) as scratch:
        traced = Path(scratch) / "traced.onnx"
        trace(model, preprocess.size, traced)
        graph = load_graph(traced)
    canonicalize(graph)
    set_preprocess(graph, preprocess)
    save_graph(graph, work.folder / GRAPH)
    return {
        "opset": graph.opset_imports[""],
        "ir_version": graph.ir_version,
        "npu_findings": note_for_npu(work, graph),
    }


def trace(model: "torch.nn.Module", size: int, path: Path) -> None:
    """Export by tracing. The dynamo exporter delivers opset 18 whatever it is told, which the
    SyNAP toolkit does not read; tracing keeps 13, GlobalAveragePool and count_include_pad=0."""
    import torch

    module: Any
    for module in model.modules():
        if hasattr(module, "fused_attn"):  # timm's switch; the fused operator needs opset 14
            module.fused_attn = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is the older exporter is known, see above
        try:
            torch.onnx.export(
                model,
                (torch.zeros(2, 3, size, size),),
                str(path),
                dynamo=False,
                opset_version=13,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            # Behind its first line the exporter prints the whole traced graph.
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise StageError(
                f"PyTorch cannot export this model to ONNX opset 13: {reason}",
                hint="export it yourself and start from the ONNX file",
            ) from error


STAGE = Stage(
    name="export",
    version=1,
    takes=("model",),
    gives={"graph": GRAPH},
    artifact="graph",
    format="onnx",
    options=_options,
    make=_make,
    tools=("torch", "timm", "onnx", "onnx_ir"),
)
