"""`export` and `quantize` for a model that comes as QDQ ONNX.

The file holds both: `export` gives its float Graph, the weights as they were rounded, with the Plan
beside it; `quantize` renders the Plan and proves that this is what the file computes. So the drop
of `quantize` is what the quantization of activations costs; what rounding the weights cost, only
the float model that the file was made from could tell.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path, link_file
from pipeline.stages import quantize
from pipeline.stages.export import GRAPH
from pipeline.stages.given_file import given_file
from pipeline.stages.import_notes import note_import
from pipeline.stages.import_onnx import missing_onnx, onnx_options
from pipeline.stages.stage import Stage, Work

if TYPE_CHECKING:
    import onnx_ir as ir

    from pipeline.quant.plan import Plan

PLAN = "plan.json"


def _import(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import save_graph
    from pipeline.graph.foreign_file import load_foreign
    from pipeline.graph.memory import bounded_memory
    from pipeline.quant.input_fit import misfits
    from pipeline.quant.plan import save_plan
    from pipeline.quant.plan_from_qdq import plan_from_qdq
    from pipeline.quant.qdq_read import refuse_integer_operators

    path = given_file(work.settings)
    where = str(path)
    with bounded_memory(path):
        graph = load_foreign(path)
        refuse_integer_operators(graph.graph, where)
        came, plan = plan_from_qdq(graph, work.settings.model_input, where)
        save_graph(graph, work.folder / GRAPH)
    plan = plan.model_copy(update={"graph_sha256": digest_of_path(work.folder / GRAPH)})
    save_plan(plan, work.folder / PLAN)
    note_import(work, came, graph, where)
    image = plan.activations[plan.input]
    grid = image.data_type, image.scale[0], image.zero_point[0]
    for note in misfits(*grid, plan.normalization):
        work.progress.note(f"{path.name}: {note}")
    return {
        "file": path.name,
        **asdict(came),
        "data_type": plan.data_type,
        "scheme": plan.scheme,
        "quantized_tensors": len(plan.activations),
    }


def _render(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import load_graph, save_graph
    from pipeline.quant.plan import load_plan, save_plan
    from pipeline.quant.qdq import render_qdq

    plan, graph = load_plan(work.taken["imported"]), load_graph(work.taken["graph"])
    render_qdq(graph, plan)
    save_graph(graph, work.folder / quantize.QDQ)
    save_plan(plan, work.folder / quantize.PLAN)
    for name in (quantize.FLOAT, quantize.BASE):
        link_file(work.taken["graph"], work.folder / name)
    return {"quantized_tensors": len(plan.activations), "proof": _prove(work, graph, plan)}


def _prove(work: Work, rendered: "ir.Model", plan: "Plan") -> dict[str, Any]:
    """Hold the rendering to the file, on seeded pictures."""
    from pipeline.graph.foreign_file import load_foreign
    from pipeline.graph.memory import bounded_memory
    from pipeline.quant.plan_from_qdq import plan_from_qdq
    from pipeline.quant.qdq_proof import prove_qdq

    path, preprocess = given_file(work.settings), work.settings.model_input
    with bounded_memory(path):
        original = load_foreign(path)
        came, _ = plan_from_qdq(original.clone(), preprocess, str(path))
        return prove_qdq(original, came, preprocess, rendered, plan, work.threads, str(path))


EXPORT = Stage(
    name="export",
    version=4,
    takes=(),
    gives={"graph": GRAPH, "imported": PLAN},
    artifact="graph",
    format="onnx",
    options=onnx_options,
    make=_import,
    missing=missing_onnx,
    tools=("onnx", "onnx_ir", "onnxruntime"),
)
QUANTIZE = Stage(
    name="quantize",
    version=1,
    takes=("graph", "imported"),
    gives={
        "plan": quantize.PLAN,
        "qdq": quantize.QDQ,
        "base": quantize.BASE,
        "float": quantize.FLOAT,
    },
    artifact="qdq",
    format="qdq-onnx",
    options=onnx_options,
    make=_render,
    tools=("onnx", "onnx_ir", "onnxruntime", "numpy"),
)
