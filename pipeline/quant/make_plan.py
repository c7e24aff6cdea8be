"""From Graph, ranges and recipe to a Plan."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.preprocess import Normalization
from pipeline.quant.input_range import InputPlan, plan_input
from pipeline.quant.observe import Ranges
from pipeline.quant.placement import Placement, WeightPlace, place
from pipeline.quant.plan import TYPES, BiasPlan, Plan, TensorPlan, weight_type
from pipeline.quant.rules import choose_range, describe_rule
from pipeline.quant.scheme import asymmetric, symmetric
from pipeline.recipe import Quantize

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST_BIAS = 2**30
"""int32 biases stay below this, so that adding up products cannot overflow the accumulator."""


@dataclass(frozen=True)
class _Layer:
    """A node with weights: its input tensor, weights, and bias (zeros where it has none)."""

    node: str
    source: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    place: WeightPlace


def placement_for(graph: "ir.Model", options: Quantize) -> Placement:
    """Which tensors these options quantize, and which share scales."""
    return place(graph.graph, concat_shares=options.data_type == "int8")


def make_plan(
    graph: "ir.Model",
    graph_sha256: str,
    normalization: Normalization,
    ranges: Ranges,
    options: Quantize,
) -> Plan:
    """Decide every scale and zero point. Pure: equal arguments give the Plan equal to the byte."""
    placement = placement_for(graph, options)
    entry = plan_input(normalization, options.data_type)
    activations = _plan_activations(placement, ranges, entry, options)
    weights: dict[str, TensorPlan] = {}
    biases: dict[str, BiasPlan] = {}
    constants = {value.name: value for value in graph.graph.initializers.values()}
    for name in placement.constants:
        weights[name] = _plan_constant(_array(constants[name]), options)
    for layer in _layers(graph, placement):
        offset = entry.offset if layer.source == placement.activations[0] else 0.0
        source_scale = activations[layer.source].scale[0]
        correction = _input_correction(layer, offset)
        planned = _plan_weights(layer, source_scale, layer.bias + correction, options)
        weights[layer.place.name] = planned
        biases[layer.node] = BiasPlan(
            scale=tuple(float(source_scale * scale) for scale in planned.scale),
            correction=tuple(correction.tolist()) if offset else None,
            source="input offset" if offset else "",
        )
    return Plan(
        graph_sha256=graph_sha256,
        data_type=options.data_type,
        scheme=options.scheme,
        input=placement.activations[0],
        normalization=entry.normalization,
        activations=activations,
        weights=weights,
        biases=biases,
    )


def _plan_activations(
    placement: Placement, ranges: Ranges, entry: InputPlan, options: Quantize
) -> dict[str, TensorPlan]:
    planned: dict[str, TensorPlan] = {}
    for name in placement.activations:
        owner = placement.owner[name]
        if name == placement.activations[0]:
            planned[name] = entry.tensor
        elif owner != name:
            planned[name] = planned[owner].model_copy(update={"source": f"shared with {owner}"})
        else:
            chosen = [
                choose_range(ranges[member], options.ranges) for member in placement.merged[name]
            ]
            low, high = min(c[0] for c in chosen), max(c[1] for c in chosen)
            scale, zero_point = asymmetric(low, high, TYPES[options.data_type])
            planned[name] = TensorPlan(
                data_type=options.data_type,
                scale=(scale,),
                zero_point=(zero_point,),
                minimum=low,
                maximum=high,
                source=describe_rule(options.ranges),
            )
    return planned


def _plan_weights(
    layer: _Layer, source_scale: float, bias: NDArray[np.float64], options: Quantize
) -> TensorPlan:
    """Weight scales: the whole range, raised where the bias would not fit into int32."""
    type = weight_type(options.scheme, options.data_type)
    axis = layer.place.axis
    if options.scheme == "perchannel_symmetric_affine":
        others = tuple(i for i in range(layer.weight.ndim) if i != axis)
        scales = symmetric(np.abs(layer.weight).max(axis=others), type)
        zeros = [0] * len(scales)
        needed = np.abs(bias) / (source_scale * LARGEST_BIAS)
    else:
        needed = np.abs(bias).max(initial=0.0, keepdims=True) / (source_scale * LARGEST_BIAS)
        if options.data_type == "uint8":
            scale, zero = asymmetric(float(layer.weight.min()), float(layer.weight.max()), type)
            scales, zeros = np.array([scale]), [zero]
        else:
            scales, zeros = (
                symmetric(np.abs(layer.weight).max(keepdims=False).reshape(1), type),
                [0],
            )
    raised = np.where(
        needed > scales, np.nextafter(needed.astype(np.float32), np.float32(np.inf)), scales
    )
    per_channel = options.scheme == "perchannel_symmetric_affine"
    return TensorPlan(
        data_type=options.data_type,
        scale=tuple(float(np.float32(scale)) for scale in raised),
        zero_point=tuple(zeros),
        axis=axis if per_channel else None,
        source="weights min/max"
        if np.array_equal(raised, scales)
        else "weights min/max, raised for the bias",
    )


def _plan_constant(values: NDArray[np.float64], options: Quantize) -> TensorPlan:
    scale, zero_point = asymmetric(
        float(values.min()), float(values.max()), TYPES[options.data_type]
    )
    return TensorPlan(
        data_type=options.data_type,
        scale=(scale,),
        zero_point=(zero_point,),
        source="constant min/max",
    )


def _input_correction(layer: _Layer, offset: float) -> NDArray[np.float64]:
    """What a constant `offset` of every input value adds to each output channel."""
    others = tuple(i for i in range(layer.weight.ndim) if i != layer.place.axis)
    return np.asarray(offset * layer.weight.sum(axis=others), np.float64)


def _layers(graph: "ir.Model", placement: Placement) -> list[_Layer]:
    nodes = {node.name: node for node in graph.graph}
    layers = []
    for item in placement.weights:
        node = nodes[item.node]
        source = node.inputs[0]
        assert source is not None and source.name is not None
        weight = _array(node.inputs[1])
        has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
        bias = _array(node.inputs[2]) if has_bias else np.zeros(weight.shape[item.axis])
        layers.append(_Layer(item.node, source.name, weight, bias.reshape(-1), item))
    return layers


def _array(value: "ir.Value | None") -> NDArray[np.float64]:
    assert value is not None and value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)
