"""One way to quantize: a Graph, a range rule and a kind of bias correction, made into a Plan."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import digest_of_path, link_file
from pipeline.graph.file import load_graph, preprocess_in, save_graph
from pipeline.graph.session import session_of
from pipeline.progress import Progress
from pipeline.quant.adaptive_rounding import IMAGES, layers_to_round, round_adaptively
from pipeline.quant.bias_correction import (
    correct_fast,
    correct_sequentially,
    images_within,
    mean_inputs,
    mean_results,
)
from pipeline.quant.make_plan import Prepared, make_plan, prepare
from pipeline.quant.observe import Ranges, batch_size
from pipeline.quant.plan import Plan
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize
from pipeline.recipe import Ranges as RangeOptions

if TYPE_CHECKING:
    import onnx_ir as ir

Correction = Literal["none", "fast", "sequential"]
Batches = Callable[[int], Iterable[NDArray[np.uint8]]]

CORRECTION_MEMORY = 384 << 20
"""Bytes of tensors that sequential correction may hold; it works on as many images as fit."""
MOST_IMAGES = 64


@dataclass(frozen=True)
class Candidate:
    """What is tried."""

    graph: str
    """`export` or `equalize`: the stage whose Graph is quantized."""
    rule: RangeOptions
    correction: Correction


class Base:
    """A float Graph with what was seen of it, from which candidates are made.

    `batches(n)` gives the calibration crops, `n` at a time.
    """

    def __init__(
        self,
        path: Path,
        sha256: str,
        options: Quantize,
        ranges: Ranges,
        batches: Batches,
        threads: int,
        progress: Progress,
    ) -> None:
        self.path, self.sha256 = path, sha256
        self._options, self._ranges, self._batches = options, ranges, batches
        self._threads, self._progress = threads, progress
        self._plans: dict[tuple[RangeOptions, Correction], Plan] = {}

    @cached_property
    def graph(self) -> "ir.Model":
        return load_graph(self.path)

    @cached_property
    def _prepared(self) -> Prepared:
        return prepare(self.graph, self._options)

    @cached_property
    def _rounded(self) -> dict[str, NDArray[np.float32]]:
        """Weights whose integers were chosen together, by name (`adaptive_rounding.py`)."""
        planned = layers_to_round(self.graph, self._prepared[1], self._options.rounding)
        size = batch_size(self.graph, [layer.source for layer, _ in planned])
        crops = _first(self._batches(1), IMAGES) if planned else np.empty((0, 1, 1, 3), np.uint8)
        batches = (crops[start : start + size] for start in range(0, len(crops), size))
        return round_adaptively(self.graph, planned, self.normalization, batches, self._threads)

    @cached_property
    def _to_plan(self) -> Prepared:
        """What Plans are made from: the layers with the weights that are rendered."""
        placement, planned = self._prepared
        return placement, [
            (replace(layer, weight=self._rounded.get(layer.weight_name, layer.weight)), scales)
            for layer, scales in planned
        ]

    @cached_property
    def layers(self) -> dict[str, tuple[str, str]]:
        """By layer, in graph order: the names of its weights and of its result."""
        placement, layers = self._prepared
        results = {layer: tensor for tensor, layer in placement.layer.items()}
        return {layer.node: (layer.weight_name, results.get(layer.node, "")) for layer, _ in layers}

    @cached_property
    def normalization(self) -> Any:
        """How bytes become the float Graph's input."""
        return preprocess_in(self.graph, str(self.path)).normalization

    @cached_property
    def _means(self) -> Any:
        layers = [layer for layer, _ in self._prepared[1]]
        return mean_inputs(self.graph, layers, self.normalization, self._batches(1), self._threads)

    @cached_property
    def _targets(self) -> "tuple[NDArray[np.uint8], Mapping[str, NDArray[np.float64]]]":
        """The images of sequential correction, and the float layers' means on them."""
        count = min(images_within(self.graph, CORRECTION_MEMORY), MOST_IMAGES)
        crops = _first(self._batches(1), count)
        layers = [layer for layer, _ in self._prepared[1]]
        return crops, mean_results(self.graph, layers, self.normalization, crops, self._threads)

    def plan(self, rule: RangeOptions, correction: Correction) -> Plan:
        """The Plan by this rule and correction; asked for again, it is not made again."""
        key = (rule, correction)
        if key not in self._plans:
            self._plans[key] = self._make(rule, correction)
        return self._plans[key]

    def _make(self, rule: RangeOptions, correction: Correction) -> Plan:
        if correction == "none":
            return make_plan(
                self.graph, self.sha256, self.normalization, self._ranges, self._options, rule,
                self._to_plan,
            )  # fmt: skip
        plan = self.plan(rule, "none")
        layers = [layer for layer, _ in self._to_plan[1]]
        if correction == "fast":
            weights = {layer.node: layer.weight for layer, _ in self._prepared[1]}
            return correct_fast(self.graph, plan, layers, weights, self._means, self._threads)
        crops, expected = self._targets
        total = len(list(self.graph.graph))
        with self._progress.bar(f"correcting biases on {len(crops)} images", total) as bar:
            return correct_sequentially(
                self.graph, plan, layers, expected, crops, self._threads, bar
            )

    def render(self, plan: Plan) -> "ir.Model":
        """The QDQ ONNX of a Plan, in a graph of its own."""
        graph = self._with_rounded(plan.weights)
        render_qdq(graph, plan)
        return graph

    def save_graph(self, path: Path) -> str:
        """Write the Graph that the Plans are for, weights rounded; its digest."""
        if self._rounded:
            save_graph(self._with_rounded(self._rounded), path)
        else:
            link_file(self.path, path)
        return digest_of_path(path)

    def _with_rounded(self, names: Collection[str]) -> "ir.Model":
        import onnx_ir as ir

        graph = load_graph(self.path)
        for name, weight in self._rounded.items():
            if name in names:
                graph.graph.initializers[name].const_value = ir.tensor(weight, name=name)
        return graph


def _first(batches: Iterable[NDArray[np.uint8]], count: int) -> NDArray[np.uint8]:
    """The first `count` crops."""
    found: list[NDArray[np.uint8]] = []
    for batch in batches:
        found.extend(batch[: count - len(found)])
        if len(found) == count:
            break
    return np.stack(found)


def logits_of(
    model: "ir.Model", plan: Plan, crops: Sequence[NDArray[np.uint8]], threads: int
) -> NDArray[np.float32]:
    """Logits `[N, C]` of a rendered Plan on batches of crops."""
    session = session_of(model, threads)
    parts = [session.run(None, {plan.input: plan.normalization.apply(batch)})[0] for batch in crops]
    return np.concatenate(parts).reshape(sum(len(batch) for batch in crops), -1)
