"""`quantize`: the float Graphs and calibration images to a Plan and its QDQ ONNX."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import digest_of_path, link_file
from pipeline.process import version_of
from pipeline.recipe import Quantize
from pipeline.recipe.quantize import RangeRule
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    from pipeline.data.samples import Samples
    from pipeline.quant.candidate import Base, Correction
    from pipeline.quant.observe import Ranges
    from pipeline.quant.plan import Plan

PLAN = "plan.json"
QDQ = "model.onnx"
FLOAT = "float.onnx"
"""The float Graph that was chosen."""
BASE = "rounded.onnx"
"""The Graph of the Plan: the same, with weights whose integers were chosen together in their place."""
RANGES = "ranges.npz"


def _options(settings: Settings) -> Mapping[str, Any]:
    options = settings.recipe.recipe.quantize
    # What `auto` chooses depends on what there is to choose from.
    rules = {"rules": sorted(get_args(RangeRule))} if options.ranges == "auto" else {}
    return {
        **rules,
        "quantize": options.model_dump(mode="json"),
        "preprocess": settings.model_input.model_dump(mode="json"),
    }


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import save_graph
    from pipeline.quant.plan import save_plan

    options = work.settings.recipe.recipe.quantize
    graphs = graphs_to_try(work.taken)
    if options.ranges == "auto":
        bases = {name: base_for(work, path) for name, path in graphs.items()}
        base, plan, details = _search(work, bases)
    else:
        name = list(graphs)[-1]
        base = base_for(work, graphs[name])
        kind: Correction = (
            "sequential" if options.bias_correction == "auto" else options.bias_correction
        )
        plan = base.plan(options.ranges, kind)
        details = {"graph": name, "bias_correction": kind}
    plan = plan.model_copy(update={"graph_sha256": base.save_graph(work.folder / BASE)})
    save_plan(plan, work.folder / PLAN)
    save_graph(base.render(plan), work.folder / QDQ)
    link_file(base.path, work.folder / FLOAT)
    return {
        **details,
        "calibration_images": len(work.samples.calibration),
        "quantized_tensors": len(plan.activations),
        **_warn(work, base, plan),
    }


def graphs_to_try(taken: Mapping[str, Path]) -> dict[str, Path]:
    """The float Graphs by the stage that gave them; a single one where only that can be fed."""
    from pipeline.graph.file import load_graph, preprocess_in

    export = taken["graph"]
    if "equalized" not in taken:
        return {"export": export}
    # The Graph's own, which an import may have taken out of the model, not the recipe's.
    normalization = preprocess_in(load_graph(export), str(export)).normalization
    if len(set(normalization.std)) > 1:
        # SyNAP knows one deviation for all channels, and only the equalized Graph is fed so.
        return {"equalize": taken["equalized"]}
    return {"export": export, "equalize": taken["equalized"]}


def _search(work: Work, bases: "Mapping[str, Base]") -> "tuple[Base, Plan, dict[str, Any]]":
    """Rank candidates on the selection images (`ranges: auto`)."""
    from pipeline.quant.search import attempts, choose
    from pipeline.runners import open_runner

    options, samples = work.settings.recipe.recipe.quantize, work.samples.selection
    assert samples is not None, "the recipe demands selection images for auto"
    corrections: tuple[Correction, ...] = (
        ("none", "sequential") if options.bias_correction == "auto" else (options.bias_correction,)
    )
    count = attempts(len(bases), corrections)
    work.progress.note(
        f"auto tries {count} candidates on {len(samples)} selection images, which takes about "
        f"{_estimated_passes(work, len(bases), count):.0f} times as long as the float model on the "
        f"{len(work.samples.calibration)} calibration images"
    )
    crops = list(crops_of(work, samples, 8))
    runner = open_runner("onnx", work.taken["graph"], None, work.threads)
    reference = np.concatenate([runner(batch) for batch in crops])
    with work.progress.bar("trying candidates", count) as bar:
        winner, tried = choose(bases, corrections, crops, reference, work.threads, bar.advance)
    chosen = winner.candidate
    base = bases[chosen.graph]
    details = {**winner.to_json(), "candidates": [item.to_json() for item in tried]}
    return base, base.plan(chosen.rule, chosen.correction), details


def _estimated_passes(work: Work, graphs: int, candidates: int) -> float:
    """Float passes over the calibration images, from what Inception V4 at 299 takes: a calibration
    pass 1.4; a candidate as long as 20 images, of which it runs 8, and a correction as long as
    120; the last two run all selection images."""
    assert work.samples.selection is not None
    images = candidates * 20 + 3 * 120 + 2 * len(work.samples.selection)
    return graphs * 1.4 + images / len(work.samples.calibration)


def base_for(work: Work, path: Path, options: Quantize | None = None) -> "Base":
    """A float Graph with what calibration saw of it, for the recipe's options or others."""
    from pipeline.quant.candidate import Base

    def batches(size: int) -> Iterable[NDArray[np.uint8]]:
        return crops_of(work, work.samples.calibration, size)

    options = options or work.settings.recipe.recipe.quantize
    digest = digest_of_path(path)
    ranges = calibrated_ranges(work, path, digest)
    return Base(path, digest, options, ranges, batches, work.threads, work.progress)


def calibrated_ranges(work: Work, path: Path, digest: str) -> "Ranges":
    """The calibration pass, kept in the store: another range rule does not need another pass."""
    from pipeline.graph.file import load_graph, preprocess_in
    from pipeline.quant.make_plan import placement_for
    from pipeline.quant.observe import (
        OBSERVE_VERSION,
        activation_bytes,
        batch_size,
        load_ranges,
        observe,
        save_ranges,
    )

    graph = load_graph(path)
    tensors = placement_for(graph, work.settings.recipe.recipe.quantize).observed
    samples = work.samples.calibration
    fields = {
        "version": OBSERVE_VERSION,
        "graph": digest,
        "samples": samples.digest,
        "preprocess": work.settings.model_input.model_dump(mode="json"),
        "tensors": list(tensors),
        "tools": {name: version_of(name) for name in ("onnxruntime", "pillow")},
    }

    def build(folder: Path) -> Mapping[str, Any]:
        size = batch_size(graph, tensors)
        megabytes = size * activation_bytes(graph, tensors) / (1 << 20)
        work.progress.note(
            f"calibration watches {len(tensors)} tensors, {size} images at a time: "
            f"{megabytes:.0f} MiB, whatever the number of images"
        )
        normalization = preprocess_in(graph, str(path)).normalization
        with work.progress.bar("calibrating", len(samples)) as bar:

            def crops() -> Iterator[NDArray[np.uint8]]:
                for batch in crops_of(work, samples, size):
                    yield batch
                    bar.advance(len(batch))

            seen = observe(graph, tensors, normalization, crops(), work.threads)
        save_ranges(seen, folder / RANGES)
        return {}

    return load_ranges(work.store.get("ranges", fields, build).path(RANGES))


def crops_of(work: Work, samples: "Samples", size: int) -> Iterator[NDArray[np.uint8]]:
    for crops, _ in samples.crops(work.settings.model_input, size, workers=work.threads):
        yield crops


def _warn(work: Work, base: "Base", plan: "Plan") -> dict[str, Any]:
    """Name the concatenations whose branches differ much, and say so."""
    from pipeline.quant.concat import unbalanced_concats

    found = unbalanced_concats(base.graph.graph, plan)
    for item in found:
        work.progress.note(f"unbalanced concat: {item}")
    return {"unbalanced_concats": found}


def _stage(*, equalized: bool) -> Stage:
    return Stage(
        name="quantize",
        version=7,
        takes=("graph", "equalized") if equalized else ("graph",),
        gives={"plan": PLAN, "qdq": QDQ, "base": BASE, "float": FLOAT},
        artifact="qdq",
        format="qdq-onnx",
        options=_options,
        make=_make,
        samples=("calibration", "selection"),
        tools=("onnxruntime", "onnx", "onnx_ir", "numpy", "pillow"),
    )


STAGE = _stage(equalized=True)
WITHOUT_EQUALIZE = _stage(equalized=False)
