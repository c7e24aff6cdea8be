"""`quantize`: Graph and calibration images to a Plan and its QDQ ONNX."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.process import version_of
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    import onnx_ir as ir

    from pipeline.quant.observe import Ranges
    from pipeline.quant.placement import Placement

PLAN = "plan.json"
QDQ = "model.onnx"
RANGES = "ranges.npz"


def _options(settings: Settings) -> Mapping[str, Any]:
    return {
        "quantize": settings.recipe.recipe.quantize.model_dump(mode="json"),
        "preprocess": settings.model_input.model_dump(mode="json"),
    }


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import load_graph, save_graph
    from pipeline.quant.make_plan import make_plan, placement_for
    from pipeline.quant.plan import save_plan
    from pipeline.quant.qdq import render_qdq

    options = work.settings.recipe.recipe.quantize
    graph = load_graph(work.taken["graph"])
    digest = digest_of_path(work.taken["graph"])
    placement = placement_for(graph, options)
    ranges = _calibrate(work, graph, digest, placement)
    normalization = work.settings.model_input.normalization
    plan = make_plan(graph, digest, normalization, ranges, options)
    render_qdq(graph, plan)
    save_plan(plan, work.folder / PLAN)
    save_graph(graph, work.folder / QDQ)
    return {
        "calibration_images": len(work.samples.calibration),
        "quantized_tensors": len(plan.activations),
    }


def _calibrate(work: Work, graph: "ir.Model", digest: str, placement: "Placement") -> "Ranges":
    """The calibration pass, kept in the store: another range rule does not need another pass."""
    from pipeline.quant.observe import (
        OBSERVE_VERSION,
        activation_bytes,
        batch_size,
        load_ranges,
        observe,
        save_ranges,
    )

    samples, preprocess = work.samples.calibration, work.settings.model_input
    tensors = placement.observed
    fields = {
        "version": OBSERVE_VERSION,
        "graph": digest,
        "samples": samples.digest,
        "preprocess": preprocess.model_dump(mode="json"),
        "tensors": list(tensors),
        "tools": {"onnxruntime": version_of("onnxruntime")},
    }

    def build(folder: Path) -> Mapping[str, Any]:
        size = batch_size(graph, tensors)
        megabytes = size * activation_bytes(graph, tensors) / (1 << 20)
        work.progress.note(
            f"calibration watches {len(tensors)} tensors, {size} images at a time, which takes "
            f"about {megabytes:.0f} MiB whatever the number of images"
        )
        with work.progress.bar("calibrating", len(samples)) as bar:

            def crops() -> Any:
                for batch, _ in samples.crops(preprocess, size, workers=work.threads):
                    yield batch
                    bar.advance(len(batch))

            seen = observe(graph, tensors, preprocess.normalization, crops(), work.threads)
        save_ranges(seen, folder / RANGES)
        return {}

    return load_ranges(work.store.get("ranges", fields, build).path(RANGES))


STAGE = Stage(
    name="quantize",
    version=1,
    takes=("graph",),
    gives={"plan": PLAN, "qdq": QDQ},
    artifact="qdq",
    format="qdq-onnx",
    options=_options,
    make=_make,
    samples=("calibration",),
    tools=("onnxruntime", "onnx", "onnx_ir", "numpy", "boost-histogram"),
)
