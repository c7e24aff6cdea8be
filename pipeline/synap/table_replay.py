"""A Plan out of the toolkit's own table, so that its quantization can be run here.

The table's scales and zero points take the place of ours, on the float Graph that was handed over;
`qdq.py` renders the Plan as it does every other. What that shows is a prediction: the NPU's own
arithmetic, and what its compiler fuses, are not in the table.

Where the table lacks a tensor that is quantized, or says something that has no rendering, there is
no replay: the rest would be a guess. What is taken for granted is listed with the Plan:
 1. A Relu or Clip is one with the layer before it (placement.py, rule 2).
 2. Max pools, reshapes and the like, which only move integers, have the scale of their input where
    the table has no entry for them.
 3. A bias is int32 at the scale of its input times that of the weights: where the table says
    otherwise there is no replay.
 4. The image is normalized with the means as they are; the board's runtime may cut them to integers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING

import numpy as np

from pipeline.graph.file import preprocess_in
from pipeline.quant.placement import KEEPS_SCALE, Placement, WeightPlace, place
from pipeline.quant.plan import TYPES, BiasPlan, Plan, TensorPlan, weight_type
from pipeline.quant.scheme import TINY_SCALE
from pipeline.synap.quantization_table import FILE, TableEntry
from pipeline.synap.table_match import Matched

if TYPE_CHECKING:
    import onnx_ir as ir

BIAS_TOLERANCE = 1e-3
"""Part by which a bias' scale may differ from the product: both passed through text."""
_MOVES = frozenset(KEEPS_SCALE) - {"AveragePool"}
_SHOWN = 5


@dataclass(frozen=True)
class Replay:
    """The Plan, or why there is none; `assumptions` are what the table does not say."""

    plan: Plan | None
    refusals: tuple[str, ...]
    assumptions: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why there is no Plan, in one line."""
        return "the toolkit's own quantization cannot be replayed: " + "; ".join(self.refusals)


def replay(matched: Matched, graph: "ir.Model", graph_sha256: str, asked: Plan) -> Replay:
    """The Plan that the table describes for the float Graph that was handed over.

    `asked` is the Plan of what the recipe asked for; only its words are taken, no number.
    """
    placement = place(graph.graph, concat_shares=False)
    work = _Work(matched, graph, placement)
    work.plan_activations()
    work.plan_weights()
    work.plan_biases()
    if work.refusals or not work.activations:
        refusals = [f"{why}: {named(names)}" for why, names in work.refusals.items()]
        return Replay(None, tuple(refusals or ["the table has no tensor of the Graph"]), ())
    plan = Plan(
        graph_sha256=graph_sha256,
        data_type=asked.data_type,
        scheme=asked.scheme,
        input=placement.activations[0],
        normalization=preprocess_in(graph, "the Graph").normalization,
        activations=work.activations,
        weights=work.weights,
        biases=work.biases,
        layers=asked.layers,
    )
    said = [f"{why}: {named(names)}" for why, names in work.assumed.items()]
    said.append("the image's means are not cut to whole numbers")
    return Replay(plan, (), tuple(said))


def named(names: Iterable[str]) -> str:
    """A few of them, and how many more there are."""
    listed = list(names)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


class _Work:
    """The parts of the Plan while they are made; reasons map to the tensors they concern."""

    def __init__(self, matched: Matched, graph: "ir.Model", placement: Placement) -> None:
        self.matched, self.placement = matched, placement
        self.nodes = {node.name or "": node for node in graph.graph}
        self.initializers = graph.graph.initializers
        self.makers = {node.outputs[0].name or "": node for node in graph.graph}
        self.activations: dict[str, TensorPlan] = {}
        self.weights: dict[str, TensorPlan] = {}
        self.biases: dict[str, BiasPlan] = {}
        self.refusals: dict[str, list[str]] = {}
        self.assumed: dict[str, list[str]] = {}

    def plan_activations(self) -> None:
        for name in self.placement.activations:
            entry, maker = self.matched.activations.get(name), self.makers.get(name)
            layer = self.placement.layer.get(name, "")
            if entry is not None and not entry.is_float:
                if entry.is_per_channel:
                    self._refuse("a result with a scale for every channel", name)
                else:
                    self._take(self.activations, name, entry, None)
            elif entry is not None or {layer, maker and maker.name} & set(self.matched.floats):
                continue  # said to stay float
            elif maker is not None and maker.op_type in _MOVES:
                source = maker.inputs[0]
                before = self.activations.get((source and source.name) or "")
                if before is not None:
                    self.activations[name] = before.model_copy(update={"source": f"{FILE}: moved"})
                self._assume("without an entry, taken to have the scale of their input", name)
            else:
                self._refuse("the table has no entry for", name)
        placed = set(self.placement.activations)
        for name in (name for name in self.matched.activations if name not in placed):
            self._assume("taken to be one with the Relu or Clip behind them", name)

    def plan_weights(self) -> None:
        places = [
            *self.placement.weights,
            *(WeightPlace(name, "", 0) for name in self.placement.constants),
        ]
        for item in places:
            entry = self.matched.weights.get(item.name)
            if item.node in self.matched.floats or (entry is not None and entry.is_float):
                continue
            if entry is None:
                self._refuse("the table has no entry for", item.name)
                continue
            value = self.initializers[item.name]
            shape = [int(size) for size in value.shape or () if isinstance(size, int)]
            per_channel = len(entry.scale) > 1
            if per_channel and (not shape or len(entry.scale) != shape[item.axis]):
                self._refuse("the number of scales is not that of the channels", item.name)
            else:
                self._take(self.weights, item.name, entry, item.axis if per_channel else None)
                self._note_clipping(item.name, entry)

    def plan_biases(self) -> None:
        weights = {item.node: item.name for item in self.placement.weights}
        for name in self.placement.biased:
            node = self.nodes[name]
            source = node.inputs[0]
            weight = self.weights.get(weights.get(name, ""))
            input = self.activations.get((source and source.name) or "")
            if weight is None or input is None or len(node.inputs) < 3 or node.inputs[2] is None:
                continue
            product = tuple(input.scale[0] * scale for scale in weight.scale)
            entry = self.matched.biases.get(name)
            if entry is None:
                self._assume("biases without an entry, taken to be int32", name)
            elif entry.data_type not in ("int32", "int64") or not _same(entry.scale, product):
                self._refuse("the bias is not int32 at the scale of input times weights", name)
                continue
            self.biases[name] = BiasPlan(scale=product, source=FILE)

    def _take(
        self, into: dict[str, TensorPlan], name: str, entry: TableEntry, axis: int | None
    ) -> None:
        type = TYPES.get(entry.data_type)
        if type is None:
            self._refuse(f"the type {entry.data_type} has no rendering", name)
        elif not all(type.minimum <= zero <= type.maximum for zero in entry.zero_point):
            self._refuse(f"a zero point is outside {entry.data_type}", name)
        elif not all(TINY_SCALE <= scale <= 1 / TINY_SCALE for scale in entry.scale):
            self._refuse("a scale is outside float32", name)
        else:
            into[name] = TensorPlan.model_validate(
                {
                    "data_type": entry.data_type,
                    "scale": tuple(float(np.float32(scale)) for scale in entry.scale),
                    "zero_point": entry.zero_point,
                    "axis": axis,
                    "minimum": entry.minimum[0] if len(entry.minimum) == 1 else None,
                    "maximum": entry.maximum[0] if len(entry.maximum) == 1 else None,
                    "source": FILE,
                }
            )

    def _note_clipping(self, name: str, entry: TableEntry) -> None:
        """int8 weights are rendered without -128, which a table with zero points may use."""
        value = self.initializers[name].const_value
        if name in self.weights and entry.data_type == "int8" and any(entry.zero_point):
            assert value is not None
            least = float(np.asarray(value.numpy()).min()) / entry.scale[0] + entry.zero_point[0]
            if least < weight_type("int8").minimum - 0.5:
                self._assume("rendered without -128, one step off at the lower end", name)

    def _refuse(self, why: str, name: str) -> None:
        self.refusals.setdefault(why, []).append(name)

    def _assume(self, what: str, name: str) -> None:
        self.assumed.setdefault(what, []).append(name)


def _same(found: Sequence[float], expected: Sequence[float]) -> bool:
    return len(found) == len(expected) and all(
        isclose(one, other, rel_tol=BIAS_TOLERANCE)
        for one, other in zip(found, expected, strict=True)
    )
