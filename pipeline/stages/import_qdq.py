"""`export` and `quantize` for a model that comes as QDQ ONNX.

The file holds both: `export` gives its float Graph, the weights as they were rounded, with the Plan
beside it; `quantize` renders the Plan and proves that this is what the file computes. So the drop
of `quantize` is what the quantization of activations costs; what rounding the weights cost, only
the float model that the file was made from could tell.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.artifact import digest_of_path, link_file
from pipeline.errors import StageError
from pipeline.stages import quantize
from pipeline.stages.export import GRAPH
from pipeline.stages.given_file import given_file
from pipeline.stages.import_onnx import missing_onnx, onnx_options
from pipeline.stages.stage import Stage, Work

PLAN = "plan.json"
MOST_STEPS = 2
"""Steps of the logits' integers by which the rendering may differ from the file, both computed in
float arithmetic: a sum that lies on the edge between two integers may fall to either side."""


def _import(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import save_graph
    from pipeline.graph.foreign_file import load_foreign
    from pipeline.quant.plan import save_plan
    from pipeline.quant.plan_from_qdq import plan_from_qdq
    from pipeline.quant.qdq_read import refuse_integer_operators

    path = given_file(work.settings)
    where, graph = str(path), load_foreign(path)
    refuse_integer_operators(graph.graph, where)
    came, plan = plan_from_qdq(graph, work.settings.model_input, where)
    save_graph(graph, work.folder / GRAPH)
    plan = plan.model_copy(update={"graph_sha256": digest_of_path(work.folder / GRAPH)})
    save_plan(plan, work.folder / PLAN)
    if came.stripped:
        work.progress.note(f"the {came.stripped} at the model's end is left out: logits are kept")
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
    return {"quantized_tensors": len(plan.activations), "proof": _prove(work)}


def _prove(work: Work) -> dict[str, Any]:
    """Hold the rendering to the file, on seeded pictures."""
    import numpy as np

    from pipeline.graph.foreign_file import load_foreign
    from pipeline.graph.proof import original_logits, pictures
    from pipeline.quant.plan import load_plan
    from pipeline.quant.plan_from_qdq import plan_from_qdq
    from pipeline.runners.onnx import make_session

    path, preprocess = given_file(work.settings), work.settings.model_input
    plan = load_plan(work.folder / quantize.PLAN)
    original = load_foreign(path)
    came, _ = plan_from_qdq(original.clone(), preprocess, str(path))
    crops = pictures(preprocess.size)
    expected = original_logits(
        original, came, preprocess, crops, work.threads, where=str(path), optimize=False
    )
    session = make_session(work.folder / quantize.QDQ, work.threads, optimize=False)
    made = session.run(None, {plan.input: plan.normalization.apply(crops)})[0]
    error, largest = float(np.abs(made - expected).max()), float(np.abs(expected).max())
    logits = plan.activations.get("logits")
    allowed = 1e-3 * largest if logits is None else MOST_STEPS * logits.scale[0]
    if not error <= allowed * (1 + 1e-6):
        raise StageError(
            f"as Graph and Plan it gives other logits: one differs by {error:.3g}, and {allowed:.3g} "
            "are allowed",
            where=str(path),
            hint="this is a fault of the import; the model's operators are to be reported with it",
        )
    return {"pictures": len(crops), "largest_difference": error, "largest_logit": largest}


EXPORT = Stage(
    name="export",
    version=2,
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
