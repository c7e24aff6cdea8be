"""`lower`: the Plan and its Graph as an integer TFLite file, the form that SyNAP takes as it is."""

from collections.abc import Mapping
from typing import Any

from pipeline.artifact import atomic_path, digest_of_path
from pipeline.errors import StageError
from pipeline.stages.stage import Settings, Stage, Work

TFLITE = "model.tflite"


def _skip(settings: Settings) -> str | None:
    return settings.recipe.recipe.quantize.no_tflite_form


def _options(settings: Settings) -> Mapping[str, Any]:
    return settings.label_options


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import class_count, load_graph
    from pipeline.lower.render import render_tflite
    from pipeline.quant.plan import load_plan

    path = work.taken["base"]
    graph, plan = load_graph(path), load_plan(work.taken["plan"])
    if plan.graph_sha256 != digest_of_path(path):
        raise StageError("the Plan belongs to another Graph", where=str(path))
    labels = work.settings.labels(class_count(graph, str(path)))
    content = render_tflite(graph, plan, labels)
    with atomic_path(work.folder / TFLITE) as temporary:
        temporary.write_bytes(content)
    return {"labels": None if labels is None else len(labels)}


STAGE = Stage(
    name="lower",
    version=1,
    takes=("base", "plan"),
    gives={"tflite": TFLITE},
    artifact="tflite",
    format="tflite",
    options=_options,
    make=_make,
    tools=("ai-edge-litert", "flatbuffers", "onnx_ir", "numpy", "timm"),
    skip=_skip,
)
