"""From Graph, ranges and recipe to a Plan."""

import difflib
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.preprocess import Normalization
from pipeline.errors import UsageError
from pipeline.quant.input_range import InputPlan, plan_input
from pipeline.quant.layers import Layer, array_of, find_layers
from pipeline.quant.observe import Ranges
from pipeline.quant.placement import KEEPS_SCALE, Placement, place
from pipeline.quant.plan import TYPES, BiasPlan, Plan, TensorPlan
from pipeline.quant.rules import choose_range, describe_rule
from pipeline.quant.scheme import asymmetric, power_of_two
from pipeline.quant.weight_plan import WeightScales, find_scales, plan_weights
from pipeline.recipe import DataType, Quantize, Scheme
from pipeline.recipe import Ranges as RangeOptions

if TYPE_CHECKING:
    import onnx_ir as ir

FIXED: dict[str, dict[str, tuple[float, int]]] = {
    "Softmax": {"uint8": (1 / 256, 0), "int8": (1 / 256, -128), "int16": (1 / 32768, 0)},
    "Sigmoid": {"uint8": (1 / 256, 0), "int8": (1 / 256, -128), "int16": (1 / 32768, 0)},
    "Tanh": {"uint8": (1 / 128, 128), "int8": (1 / 128, 0), "int16": (1 / 32768, 0)},
}
"""Scale and zero point of results whose range is known (TFLite quantization specification)."""

MOVES_VALUES = tuple(name for name in KEEPS_SCALE if name not in ("Pad", "AveragePool"))
"""Operators behind which a constant added to all values is still that: a Pad puts real zeros
beside them, and so may an average pool."""


def placement_for(graph: "ir.Model", options: Quantize) -> Placement:
    """Which tensors these options quantize, and which share scales."""
    return place(graph.graph, concat_shares=options.data_type != "uint8")


Prepared = tuple[Placement, list[tuple[Layer, WeightScales]]]


def prepare(graph: "ir.Model", options: Quantize) -> Prepared:
    """What a Plan takes from the Graph and the options alone, whatever the range rule."""
    _require_layers(graph, options)
    placement = placement_for(graph, options)
    _require_own_scale(placement, options)
    layers = find_layers(graph, placement)
    return placement, [(layer, find_scales(layer, options)) for layer in layers]


def make_plan(
    graph: "ir.Model",
    graph_sha256: str,
    normalization: Normalization,
    ranges: Ranges,
    options: Quantize,
    rule: RangeOptions,
    prepared: Prepared | None = None,
) -> Plan:
    """Decide every scale and zero point. Pure: equal arguments give the Plan equal to the byte.

    `prepared` is what `prepare` gives for these options, where several rules are tried. Raises
    UsageError for a layer in the recipe that the Graph does not have.
    """
    placement, layers = prepared or prepare(graph, options)
    image = placement.activations[0]
    takers = {
        layer.node
        for layer, _ in layers
        if layer.takes_bias and options.layers.get(layer.node) != "float16"
    }
    entry = plan_input(
        normalization,
        options.data_type,
        options.scheme,
        absorbs=placement.merged[image] == (image,)
        and _absorbs_offset(graph.graph.inputs[0], takers),
    )
    activations = _plan_activations(placement, ranges, entry, options, rule)
    weights: dict[str, TensorPlan] = {}
    biases: dict[str, BiasPlan] = {}
    constants = {value.name: value for value in graph.graph.initializers.values()}
    for name in placement.constants:
        values = array_of(constants[name])
        weights[name] = _affine(
            float(values.min()), float(values.max()), options.data_type, options.scheme, "constant"
        )
    for layer, scales in layers:
        if options.layers.get(layer.node) == "float16":
            continue
        source = activations.get(layer.source)
        offset = entry.offset if placement.owner.get(layer.source) == image else 0.0
        source_scale = None if source is None else source.scale[0]
        planned, bias = plan_weights(layer, scales, source_scale, offset, options)
        weights[layer.weight_name] = planned
        if bias is not None:
            biases[layer.node] = bias
    return Plan(
        graph_sha256=graph_sha256,
        data_type=options.data_type,
        scheme=options.scheme,
        input=image,
        normalization=entry.normalization,
        activations=activations,
        weights=weights,
        biases=biases,
        layers=dict(options.layers),
    )


def _absorbs_offset(value: "ir.Value", takers: Collection[str]) -> bool:
    """Whether all that reads a tensor is a layer whose bias can add a constant to every value of
    it, at once or behind operators that only move values."""
    return not value.is_graph_output() and all(
        (use.node.name in takers and use.idx == 0)
        or (
            use.node.op_type in MOVES_VALUES
            and all(_absorbs_offset(output, takers) for output in use.node.outputs)
        )
        for use in value.uses()
    )


def _plan_activations(
    placement: Placement,
    ranges: Ranges,
    entry: InputPlan,
    options: Quantize,
    rule: RangeOptions,
) -> dict[str, TensorPlan]:
    planned: dict[str, TensorPlan] = {}
    types = _types(placement, options)
    image = placement.activations[0]

    def range_of(name: str, type: DataType) -> tuple[float, float]:
        """The range of one tensor, whatever it shares its scale with."""
        if name == image:
            assert entry.tensor.minimum is not None and entry.tensor.maximum is not None
            return entry.tensor.minimum, entry.tensor.maximum
        if name in placement.fixed:
            return (-1.0 if placement.fixed[name] == "Tanh" else 0.0), 1.0
        return choose_range(ranges[name], rule, TYPES[type])

    for owner, members in placement.merged.items():
        type = types[owner]
        if type is None:
            continue  # a float16 layer: its result stays float
        scheme: Scheme = options.scheme if type == options.data_type else "dynamic_fixed_point"
        if members == (image,):
            planned[owner] = entry.tensor
            continue
        if len(members) == 1 and owner in placement.fixed:
            operator = placement.fixed[owner]
            # A tanh's integers have zero point 0 and a power of two, which is fixed point.
            grid = "Tanh" if scheme == "dynamic_fixed_point" else operator
            scale, zero_point = FIXED[grid][type]
            planned[owner] = TensorPlan(
                data_type=type,
                scale=(scale,),
                zero_point=(zero_point,),
                source=f"{operator}, fixed",
            )
            continue
        own = {name: range_of(name, type) for name in members}
        low, high = min(low for low, _ in own.values()), max(high for _, high in own.values())
        united = _affine(low, high, type, scheme, describe_rule(rule))
        if image in own and type == options.data_type and (low, high) == own[image]:
            united = entry.tensor
        for name in members:
            # The scale is of all, the range each one's own: `concat.py` compares them.
            ends = {"minimum": own[name][0], "maximum": own[name][1]}
            planned[name] = united.model_copy(update={**ends, **_source(name, owner)})
    for name in placement.activations:
        owner = placement.owner[name]
        if name not in planned and owner in planned:
            planned[name] = planned[owner].model_copy(update=_source(name, owner))
    return {name: planned[name] for name in placement.activations if name in planned}


def _source(name: str, owner: str) -> dict[str, str]:
    return {} if name == owner else {"source": f"shared with {owner}"}


def _affine(low: float, high: float, type: DataType, scheme: Scheme, source: str) -> TensorPlan:
    """One scale for a range: with a zero point, or, in fixed point, a power of two."""
    if scheme == "dynamic_fixed_point":
        scale = float(power_of_two(np.array([max(-low, high, 0.0)]), TYPES[type])[0])
        zero_point = 0
    else:
        scale, zero_point = asymmetric(low, high, TYPES[type])
    return TensorPlan(
        data_type=type,
        scale=(scale,),
        zero_point=(zero_point,),
        minimum=low,
        maximum=high,
        source=source,
    )


def _types(placement: Placement, options: Quantize) -> dict[str, DataType | None]:
    """The type of every owner: its layer's own, or the base type; None for one that stays float.

    Where tensors share a scale, one int16 layer makes all of them int16.
    """
    types: dict[str, DataType | None] = {}
    for name in placement.activations:
        own = options.layers.get(placement.layer.get(name, ""))
        owner = placement.owner[name]
        if own == "int16":
            types[owner] = "int16"
        elif own == "float16" and owner == name:
            types[owner] = None
        else:
            types.setdefault(owner, options.data_type)
    return types


def _require_own_scale(placement: Placement, options: Quantize) -> None:
    """A layer can stay float only if nothing else has the scale of its result."""
    for name, layer in placement.layer.items():
        others = placement.merged[placement.owner[name]]
        if options.layers.get(layer) == "float16" and len(others) > 1:
            named = ", ".join(other for other in others if other != name)
            raise UsageError(
                f"{layer} cannot stay float16: its result shares its scale with {named}",
                where="quantize.layers",
                hint="make it int16, or quantize to uint8, where concatenations do not share",
            )


def _require_layers(graph: "ir.Model", options: Quantize) -> None:
    nodes = {node.name or "": node.op_type for node in graph.graph}
    for name in options.layers:
        if name not in nodes:
            close = difflib.get_close_matches(name, list(nodes), n=1)
            raise UsageError(
                f"the Graph has no layer {name!r}",
                where="quantize.layers",
                hint=f"did you mean {close[0]!r}?" if close else "",
            )
        if nodes[name] in KEEPS_SCALE:
            raise UsageError(
                f"{name} is a {nodes[name]} and has the type of its input",
                where="quantize.layers",
                hint="name the layer before it",
            )
