"""How much noise every layer of a quantized model adds, and how much has gathered up to it.

Alone: the layer gets the float model's own inputs, rounded to its scales, and its weights and
result are integers; the signal to noise ratio of its result is what this layer costs by itself.
Up to here: the same ratio in the integer model, everything before it included.

All of it in one pass over a few images: the float and the integer model run once, and every layer
once more by itself. `sensitivity.py`, whose isolated ratio is that of the logits, runs the whole
model for every layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.preprocess import Normalization
from pipeline.quant.bias_correction import dequantized
from pipeline.quant.layers import Layer
from pipeline.quant.node_session import fake_quantize, run_node
from pipeline.quant.observe import run_watched
from pipeline.quant.placement import KEEPS_SCALE, fused_activation
from pipeline.quant.plan import Plan

if TYPE_CHECKING:
    import onnx_ir as ir

Float = NDArray[np.float32]
LAYER_NOISE_VERSION = 2


@dataclass(frozen=True)
class LayerNoise:
    """A node whose result has a scale of its own. Ratios are in dB, less is worse; None where
    there is no noise at all, or no signal."""

    layer: str
    operator: str
    tensor: str
    """Its result, behind the activation that is fused into it."""
    alone_db: float | None
    cumulative_db: float | None


class Spot(NamedTuple):
    """Where noise is looked at: a node, and the tensor that is its layer's result."""

    node: "ir.Node"
    result: str
    is_output: bool


def find_spots(graph: "ir.Model", plan: Plan) -> list[Spot]:
    """The nodes that make noise, in graph order: those whose result has a scale of its own."""
    spots = []
    fused: set[str] = set()
    for node in graph.graph:
        activation = fused_activation(node)
        value = (node if activation is None else activation).outputs[0]
        if activation is not None:
            fused.add(activation.name or "")
        is_own = value.name in plan.activations and node.op_type not in KEEPS_SCALE
        if is_own and node.name not in fused:
            spots.append(Spot(node, value.name or "", value.is_graph_output()))
    return spots


def watched_tensors(spots: Sequence[Spot]) -> list[str]:
    """The float tensors that the pass needs: inputs and results of all spots."""
    names = [name for spot in spots for name in (*_inputs(spot.node), spot.result)]
    return list(dict.fromkeys(names))


def layer_noise(
    graph: "ir.Model",
    rendered: "ir.Model",
    plan: Plan,
    layers: Mapping[str, Layer],
    normalization: Normalization,
    batches: Sequence[NDArray[np.uint8]],
    threads: int,
    done: Callable[[], None],
) -> list[LayerNoise]:
    """The noise of every layer, in graph order, on batches of crops `uint8 [N, H, W, 3]`.

    `graph` is the float one, `normalization` its own, and `rendered` the QDQ ONNX of the Plan;
    `layers` are those of the Plan's Graph, by node. `done` is called after every layer of a batch.
    """
    spots = find_spots(graph, plan)
    tensors = watched_tensors(spots)
    integers = [spot.result if spot.is_output else f"{spot.result}_dequantized" for spot in spots]
    signal = np.zeros(len(spots))
    alone, gathered = np.zeros(len(spots)), np.zeros(len(spots))
    passes: Iterable[tuple[NDArray[np.uint8], list[Float], list[Float]]] = zip(
        batches,
        run_watched(graph, tensors, normalization, batches, threads),
        run_watched(rendered, integers, plan.normalization, batches, threads),
        strict=True,
    )
    for crops, watched, integer in passes:
        real = dict(zip(tensors, watched, strict=True))
        rounded = _Rounded(plan, {**real, plan.input: plan.normalization.apply(crops)}, threads)
        for index, spot in enumerate(spots):
            expected = real[spot.result]
            result = _alone(spot, rounded, plan, layers.get(spot.node.name or ""), threads)
            signal[index] += _energy(expected)
            alone[index] += _energy(result - expected)
            gathered[index] += _energy(integer[index] - expected)
            done()
    return [
        LayerNoise(spot.node.name or spot.result, spot.node.op_type, spot.result, _db(s, a), _db(s, g))
        for spot, s, a, g in zip(spots, signal, alone, gathered, strict=True)
    ]  # fmt: skip


class _Rounded:
    """Float tensors as their integers stand for them, each rounded once however often it is read."""

    def __init__(self, plan: Plan, real: Mapping[str, Float], threads: int) -> None:
        self._plan, self._real, self._threads = plan, real, threads
        self._kept: dict[str, Float] = {}

    def values(self, node: "ir.Node") -> dict[str, Float]:
        """The inputs of a node, by name."""
        for name in _inputs(node):
            if name not in self._kept:
                self._kept[name] = fit(name, self._real[name], self._plan, self._threads)
        return {name: self._kept[name] for name in _inputs(node)}


def fit(name: str, values: Float, plan: Plan, threads: int) -> Float:
    """The real values of the tensor's integers; the values themselves where it has none."""
    tensor = plan.activations.get(name)
    return values if tensor is None else fake_quantize(values, tensor, threads)


def _alone(spot: Spot, rounded: _Rounded, plan: Plan, layer: Layer | None, threads: int) -> Float:
    """The layer's result with float everything but itself."""
    node = spot.node
    result = _run(node, rounded.values(node), plan, layer, threads)
    activation = fused_activation(node)
    if activation is not None:
        result = run_node(activation, {node.outputs[0].name or "": result}, threads)
    return fit(spot.result, result, plan, threads)


def _run(
    node: "ir.Node", values: Mapping[str, Float], plan: Plan, layer: Layer | None, threads: int
) -> Float:
    """The node's result, with the real values of its integer weights where it has such."""
    if layer is None or layer.weight_name not in plan.weights:
        return run_node(node, values, threads)
    constants = {1: dequantized(layer, plan.weights[layer.weight_name])}
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        constants[2] = np.zeros(len(layer.bias), np.float32)
    result = run_node(node, values, threads, constants=constants)
    planned = plan.biases.get(layer.node)
    correction = 0.0 if planned is None or planned.correction is None else planned.correction
    bias = (layer.bias + np.asarray(correction)).astype(np.float32)
    if bias.any():
        result = result + bias.reshape(1, -1, *[1] * (result.ndim - 2))
    return result


def _inputs(node: "ir.Node") -> list[str]:
    """The tensors that a node reads, constants left out."""
    return [
        value.name
        for value in node.inputs
        if value is not None and value.const_value is None and value.name is not None
    ]


def _energy(values: Float) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _db(signal: float, noise: float) -> float | None:
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
