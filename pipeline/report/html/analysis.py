"""What the page needs beyond the run's own results: noise by layer, histograms, concatenations.

It depends on the quantization and a few images only, so it is kept in the store by itself: both
targets share it, and a changed threshold does not compute it again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.quant.scheme import IntegerType
from pipeline.report.html.view import Analysis, Branch, ConcatView, LayerRow, TensorHistogram
from pipeline.stages.stage import Work
from pipeline.store import Store

if TYPE_CHECKING:
    import onnx_ir as ir

    from pipeline.data.samples import Samples
    from pipeline.quant.histogram import Histogram
    from pipeline.quant.observe import Ranges
    from pipeline.quant.plan import Plan, TensorPlan

VERSION = 3
IMAGES = 16
"""Of the selection set, or of calibration where there is none."""
HISTOGRAMS = 6
BINS = 128


def analysis_of(work: Work, store: Store, *, calibrated: bool) -> Analysis:
    """The analysis of the `quantize` result in `work.folder`, which is only read; `calibrated` where
    its ranges are from this pipeline's own calibration."""
    from pipeline.process import version_of
    from pipeline.quant.layer_noise import LAYER_NOISE_VERSION
    from pipeline.stages.quantize import FLOAT, PLAN

    samples = work.samples.selection or work.samples.calibration
    fields = {
        "version": [VERSION, LAYER_NOISE_VERSION],
        "plan": digest_of_path(work.folder / PLAN),
        "graph": digest_of_path(work.folder / FLOAT),
        "samples": samples.digest,
        "preprocess": work.settings.model_input.model_dump(mode="json"),
        "images": IMAGES,
        "calibrated": calibrated,
        "tools": {name: version_of(name) for name in ("onnxruntime", "onnx", "onnx_ir", "numpy")},
    }

    def build(folder: Path) -> Mapping[str, Any]:
        return {"analysis": _analyse(work, samples, calibrated).model_dump(mode="json")}

    entry = store.get("analysis", fields, build)
    return Analysis.model_validate(entry.about["analysis"])


def _analyse(work: Work, samples: "Samples", calibrated: bool) -> Analysis:
    from pipeline.graph.file import load_graph, preprocess_in
    from pipeline.quant.layer_noise import find_spots, layer_noise, watched_tensors
    from pipeline.quant.layers import find_layers
    from pipeline.quant.make_plan import placement_for
    from pipeline.quant.observe import batch_size
    from pipeline.quant.plan import load_plan
    from pipeline.quant.qdq import render_qdq
    from pipeline.stages.quantize import BASE, FLOAT, PLAN, calibrated_ranges, crops_of

    path = work.folder / FLOAT
    graph, plan = load_graph(path), load_plan(work.folder / PLAN)
    base = load_graph(work.folder / BASE)
    placement = placement_for(graph, work.settings.recipe.recipe.quantize)
    layers = {layer.node: layer for layer in find_layers(base, placement)}
    render_qdq(base, plan)
    spots = find_spots(graph, plan)
    few = replace(samples, items=samples.items[:IMAGES])
    batches = list(crops_of(work, few, batch_size(graph, watched_tensors(spots))))
    total = len(spots) * len(batches)
    with work.progress.bar(f"noise by layer on {len(few)} images", total) as bar:
        noise = layer_noise(
            graph, base, plan, layers, preprocess_in(graph, str(path)).normalization, batches,
            work.threads, bar.advance,
        )  # fmt: skip
    ranges = calibrated_ranges(work, path, digest_of_path(path)) if calibrated else {}
    judged = list(_histograms(plan, ranges, placement.layer))
    judged.sort(key=lambda item: (item.sqnr_db is None, item.sqnr_db))
    return Analysis(
        images=len(few),
        image_set=samples.name,
        layers=tuple(LayerRow(**asdict(item)) for item in noise),
        tensors=len(judged),
        histograms=tuple(judged[:HISTOGRAMS]),
        concats=tuple(_concats(graph, plan, ranges, placement.owner)),
    )


def _histograms(
    plan: "Plan", ranges: "Ranges", layers: Mapping[str, str]
) -> Iterator[TensorHistogram]:
    """Every tensor whose own range was chosen from what calibration saw of it."""
    for name, tensor in plan.activations.items():
        seen = ranges.get(name)
        if seen is not None and name != plan.input and seen.counts.any():
            yield _histogram(name, layers.get(name, name), tensor, seen)


def _histogram(name: str, layer: str, tensor: "TensorPlan", seen: "Histogram") -> TensorHistogram:
    import numpy as np

    from pipeline.quant.noise import density, squared_error
    from pipeline.quant.plan import TYPES

    type = TYPES[tensor.data_type]
    low, high = _covered(tensor, type)
    edges, counts = density(seen)
    total = float(seen.counts.sum())
    middle = (edges[1:] + edges[:-1]) / 2
    width = np.diff(edges)
    # The mean square of values that are uniform within their bin.
    signal = float(np.sum(counts * (middle**2 + width**2 / 12)))
    noise = squared_error(edges, counts, low, high, type)
    # What lies less than half a step beyond is rounded, not clipped.
    half = tensor.scale[0] / 2
    beyond = float(counts[(edges[1:] < low - half) | (edges[:-1] > high + half)].sum())
    coarse_edges, coarse_counts = _coarse(edges, counts)
    return TensorHistogram(
        tensor=name,
        layer=layer,
        edges=tuple(coarse_edges.tolist()),
        counts=tuple(coarse_counts.tolist()),
        zeros=seen.zeros / total,
        minimum=seen.minimum,
        maximum=seen.maximum,
        low=low,
        high=high,
        scale=tensor.scale[0],
        clipped=beyond / total,
        sqnr_db=float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None,
        source=tensor.source,
    )


def _covered(tensor: "TensorPlan", type: IntegerType) -> tuple[float, float]:
    """The real values of the least and the largest integer."""
    scale, zero_point = tensor.scale[0], tensor.zero_point[0]
    return (type.minimum - zero_point) * scale, (type.maximum - zero_point) * scale


def _coarse(edges: Any, counts: Any) -> tuple[Any, Any]:
    """At most `BINS` bins of equal width, by merging neighbours; the last may reach beyond."""
    import numpy as np

    step = -(-len(counts) // BINS)
    padded = np.append(counts, np.zeros(-len(counts) % step))
    width = edges[1] - edges[0]
    merged = padded.reshape(-1, step).sum(axis=1)
    return edges[0] + width * step * np.arange(len(merged) + 1), merged


def _concats(
    graph: "ir.Model", plan: "Plan", ranges: "Ranges", owner: Mapping[str, str]
) -> Iterator[ConcatView]:
    from pipeline.quant.plan import TYPES

    for node in graph.graph:
        tensor = plan.activations.get(node.outputs[0].name or "")
        if node.op_type != "Concat" or tensor is None:
            continue
        type = TYPES[tensor.data_type]
        low, high = _covered(tensor, type)
        branches = []
        for value in node.inputs:
            name = "" if value is None else value.name or ""
            # What moves or averages values has the scale of its input, and was not watched itself.
            seen = ranges.get(name) or ranges.get(owner.get(name, ""))
            planned = plan.activations.get(name)
            if seen is not None:
                ends = seen.minimum, seen.maximum
            elif planned is not None:
                ends = _covered(planned, TYPES[planned.data_type])
            else:
                continue
            least, most = max(min(ends[0], 0.0), low), min(max(ends[1], 0.0), high)
            steps = (most - least) / tensor.scale[0]
            branches.append(Branch(tensor=name, low=ends[0], high=ends[1], steps=steps))
        if branches:
            yield ConcatView(
                name=node.name or node.outputs[0].name or "",
                scale=tensor.scale[0],
                levels=type.maximum - type.minimum,
                branches=tuple(branches),
            )
