"""Correct the biases so that every layer's mean is the float model's again.

Rounding weights shifts the mean of a layer's result, and the shift adds up along the network
(Nagel et al., arXiv 1906.04721, section 4.2; Finkelstein et al., arXiv 1906.03193). Integer
hardware adds an int32 bias anyway, so correcting it costs nothing at run time.

Fast: each layer for itself, from the float model's mean inputs. Sequential: layers are visited in
graph order with everything before them already quantized and corrected, and each channel's mean
over the calibration images is put back to the float one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.preprocess import Normalization
from pipeline.progress import Bar
from pipeline.quant.layers import Layer
from pipeline.quant.node_session import fake_quantize, run_node, run_outputs
from pipeline.quant.observe import batch_size, run_watched
from pipeline.quant.plan import BiasPlan, Plan, TensorPlan, weight_type
from pipeline.quant.scheme import along, dequantize, quantize

if TYPE_CHECKING:
    import onnx_ir as ir

Float = NDArray[np.float32]


def correct_sequentially(
    graph: "ir.Model",
    plan: Plan,
    layers: Sequence[Layer],
    expected: Mapping[str, NDArray[np.float64]],
    crops: NDArray[np.uint8],
    threads: int,
    bar: Bar,
) -> Plan:
    """Correct on crops `uint8 [N, H, W, 3]`, all of which are worked on at a time.

    The graph has to be the float one that the Plan was made for, and is left as it was; `expected`
    are its layers' means on the same crops (`mean_results`).
    """
    by_node = {layer.node: layer for layer in layers}
    integer: dict[str, Float] = {plan.input: plan.normalization.apply(crops)}
    remaining = _uses(graph)
    biases = dict(plan.biases)
    for node in graph.graph:
        outputs = _used(node)
        layer = by_node.get(node.name or "")
        if layer is None or layer.weight_name not in plan.weights:
            results = run_outputs(node, integer, threads, outputs)
        else:
            weight = dequantized(layer, plan.weights[layer.weight_name])
            result = _without_bias(node, integer, weight, layer, threads)
            if layer.takes_bias:
                result += _by_channel(layer.bias, result)
            if layer.node in biases:
                bias = biases[layer.node]
                result += _by_channel(_array(bias, layer), result)
                shift = expected[layer.node] - _channel_mean(result)
                result += _by_channel(shift, result)
                biases[layer.node] = _corrected(bias, shift, layer, "sequential")
            results = [result]
        for output, result in zip((value.name or "" for value in outputs), results, strict=True):
            planned = plan.activations.get(output)
            integer[output] = result if planned is None else fake_quantize(result, planned, threads)
        for value in node.inputs:
            if value is not None and value.name in remaining:
                remaining[value.name] -= 1
                if remaining[value.name] == 0:
                    integer.pop(value.name, None)
        bar.advance()
    return plan.model_copy(update={"biases": biases})


def images_within(graph: "ir.Model", budget: int) -> int:
    """How many images may be worked on at a time so that tensors stay within `budget` bytes.

    Counted are all tensors that are alive at once.
    """
    remaining = _uses(graph)
    sizes: dict[str, int] = {}
    alive = most = 0
    for node in graph.graph:
        made = 0
        for value in _used(node):
            shape = [size for size in (value.shape or [])[1:] if isinstance(size, int)]
            sizes[value.name or ""] = 4 * int(np.prod(shape))
            made += sizes[value.name or ""]
        alive += made
        # While a layer runs, its result exists once more.
        most = max(most, alive + made)
        for source in node.inputs:
            if source is not None and source.name in remaining:
                remaining[source.name] -= 1
                if remaining[source.name] == 0:
                    alive -= sizes.get(source.name, 0)
    return max(budget // max(most, 1), 1)


def dequantized(layer: Layer, tensor: TensorPlan) -> Float:
    """The real weights that the layer's integers stand for."""
    type = weight_type(tensor.data_type)
    scale = along(np.array(tensor.scale), tensor.axis, layer.weight.ndim)
    zero_point = along(np.array(tensor.zero_point, np.float64), tensor.axis, layer.weight.ndim)
    integers = quantize(layer.weight, scale, zero_point, type)
    return dequantize(integers, scale, zero_point).astype(np.float32)


def _without_bias(
    node: "ir.Node", values: Mapping[str, Float], weight: Float, layer: Layer, threads: int
) -> Float:
    constants = {1: weight}
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        constants[2] = np.zeros(len(layer.bias), np.float32)
    return run_node(node, values, threads, constants=constants)


def _array(bias: BiasPlan, layer: Layer) -> NDArray[np.float64]:
    return np.zeros(len(layer.bias)) if bias.correction is None else np.array(bias.correction)


def _corrected(bias: BiasPlan, shift: NDArray[np.float64], layer: Layer, kind: str) -> BiasPlan:
    source = f"{bias.source}, {kind}" if bias.source else kind
    corrected = _array(bias, layer) + shift
    return bias.model_copy(update={"correction": tuple(corrected.tolist()), "source": source})


def _channel_mean(values: Float) -> NDArray[np.float64]:
    """Mean `[C]` of `[N, C, ...]` over images and places."""
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    return np.asarray(values.mean(axis=axes, dtype=np.float64))


def _by_channel(values: NDArray[np.float64], like: Float) -> Float:
    return values.astype(np.float32).reshape(1, -1, *[1] * (like.ndim - 2))


def _used(node: "ir.Node") -> "list[ir.Value]":
    """What of a node somebody reads: all parts of a Split, but not a pool's indices."""
    return [value for value in node.outputs if value.uses() or value.is_graph_output()]


def _uses(graph: "ir.Model") -> dict[str, int]:
    """How often each tensor is read; the result is read once more, by the caller."""
    uses: dict[str, int] = {}
    for node in graph.graph:
        for value in node.inputs:
            if value is not None and value.const_value is None and value.name is not None:
                uses[value.name] = uses.get(value.name, 0) + 1
    return uses


def mean_results(
    graph: "ir.Model",
    layers: Sequence[Layer],
    normalization: Normalization,
    crops: NDArray[np.uint8],
    threads: int,
) -> dict[str, NDArray[np.float64]]:
    """By layer, the channels' means `[C]` of the float result on all crops, before any activation."""
    nodes = {node.name: node for node in graph.graph}
    results = {layer.node: nodes[layer.node].outputs[0].name or "" for layer in layers}
    size = batch_size(graph, list(results.values()))
    batches = [crops[start : start + size] for start in range(0, len(crops), size)]
    sums: dict[str, NDArray[np.float64]] = {}
    for batch in run_watched(graph, list(results.values()), normalization, batches, threads):
        for node, values in zip(results, batch, strict=True):
            total = len(values) * _channel_mean(values)
            sums[node] = sums[node] + total if node in sums else total
    return {node: total / len(crops) for node, total in sums.items()}


def mean_inputs(
    graph: "ir.Model",
    layers: list[Layer],
    normalization: Normalization,
    batches: Iterable[NDArray[np.uint8]],
    threads: int,
) -> dict[str, Float]:
    """The mean over images of every layer's input, `[1, C, ...]`, in one pass of the float Graph."""
    tensors = list(dict.fromkeys(layer.source for layer in layers))
    sums: dict[str, NDArray[np.float64]] = {}
    count = 0
    for batch in run_watched(graph, tensors, normalization, batches, threads):
        count += len(batch[0])
        for name, values in zip(tensors, batch, strict=True):
            total = values.sum(axis=0, keepdims=True, dtype=np.float64)
            sums[name] = sums[name] + total if name in sums else total
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}


def correct_fast(
    graph: "ir.Model",
    plan: Plan,
    layers: Sequence[Layer],
    weights: Mapping[str, Float],
    means: Mapping[str, Float],
    threads: int,
) -> Plan:
    """Correct every layer for its own weights' rounding only, on the float mean inputs; `weights`
    are the float ones by layer, those of `layers` may have been rounded already.

    A convolution is linear, so the mean of its results is its result on the mean input: one image's
    work for any number of images, borders included.
    """
    nodes = {node.name: node for node in graph.graph}
    biases = dict(plan.biases)
    for layer in layers:
        if layer.node not in biases:
            continue
        error = weights[layer.node] - dequantized(layer, plan.weights[layer.weight_name])
        lost = _without_bias(nodes[layer.node], means, error, layer, threads)
        biases[layer.node] = _corrected(biases[layer.node], _channel_mean(lost), layer, "fast")
    return plan.model_copy(update={"biases": biases})
