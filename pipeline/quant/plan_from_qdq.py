"""A QDQ model of others as Graph and Plan.

The Graph is the float model with its weights as they were rounded, the Plan what the file says of
every tensor. A Plan has integers of one kind, so grids are moved to the other where that is exact:
`uint8` with zero point z is `int8` with zero point z - 128, integer for integer.

Rules:
 1. Where all weights have zero point 0 as int8 (ONNX Runtime's usual mixture of uint8 activations
    and int8 weights among them), everything is int8.
 2. Where none has an axis, everything is uint8, whose weights may have any zero point.
 3. Other weights (per channel with zero points, or with -128, which would be +128 the other way
    round) have no form in a Plan and are refused.
 4. A result that only moves integers has its input's grid, also where the file does not say so.
 5. A bias of zeros has the scale that belongs to its layer, whatever the file says: exporters share
    it between layers.
 6. An activation that the file leaves to the saturation of its integers is in the Graph
    (`qdq_saturation.py`).
 7. What a model does to normalize its input, before it quantizes that for the first time (NNCF leaves
    it so), belongs to the preprocessing.
 8. What has no grid stays float. So does a constant whose integers have no form in the Plan: its
    float values are on its grid already.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.foreign import Came, placed, prepare
from pipeline.quant.integers import bias_integers, weight_integers
from pipeline.quant.placement import Placement, place
from pipeline.quant.plan import BiasPlan, Plan, TensorPlan
from pipeline.quant.qdq_integers import common_type, moved
from pipeline.quant.qdq_read import (
    EIGHT_BITS,
    Grid,
    Grids,
    Stored,
    as_onnx_pairs,
    is_quantized,
    strip_pairs,
)
from pipeline.quant.qdq_saturation import restore_activations
from pipeline.recipe import DataType

if TYPE_CHECKING:
    import onnx_ir as ir

SOURCE = "the QDQ file"
MOVES = ("Flatten", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose results are some of their input's values (rule 4)."""


def plan_from_qdq(model: "ir.Model", preprocess: Preprocess, where: str) -> tuple[Came, Plan]:
    """Make the model its canonical float Graph, in place; how it came, and the Plan, which does not
    say yet which file the Graph is.

    Raises StageError for what cannot be a Plan.
    """
    import onnx_ir.passes.common as passes

    from pipeline.graph.batch_norm import fold_batch_norms
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.file import set_preprocess

    if not is_quantized(model.graph):
        raise StageError(
            "is not quantized: it has no QuantizeLinear",
            where=where,
            hint="give it as `model: {source: onnx}`",
        )
    with placed(where):
        as_onnx_pairs(model.graph)
    came = prepare(model, preprocess.size, where)
    with placed(where):
        # While the pairs stand between, no batch norm is folded into a convolution.
        fold_batch_norms(model.graph)
        grids = strip_pairs(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        preprocess = _take_normalization(model.graph, grids, preprocess)
        restore_activations(model.graph, grids)
        _require_no_factors(model.graph)
        canonicalize(model)
        set_preprocess(model, preprocess)
        return came, _plan(model, grids, preprocess)


def _require_no_factors(graph: "ir.Graph") -> None:
    """Folded into weights they would take them off their grid."""
    from pipeline.graph.gemm import has_factors

    for node in graph:
        if has_factors(node):
            raise StageError(
                f"Gemm {node.name or node.outputs[0].name!r} multiplies its quantized weights by an alpha "
                "or its bias by a beta",
                hint="multiply them in before quantizing, or give the float model",
            )


def _take_normalization(graph: "ir.Graph", grids: Grids, given: Preprocess) -> Preprocess:
    """Rule 7: the preprocessing that the Graph is left to be fed with, in place; the input has the
    grid of what it became."""
    from pipeline.graph.input_side import take_normalization

    image = graph.inputs[0]
    if image in grids.activations:
        return given
    taken = take_normalization(graph, given.normalization)
    for value in list(grids.activations):
        node = value.producer()
        if node is not None and node.graph is None:
            grids.activations[image] = grids.activations.pop(value)
    return given.with_normalization(taken)


def _plan(model: "ir.Model", grids: Grids, preprocess: Preprocess) -> Plan:
    placement = place(model.graph, concat_shares=False)
    stored = {value.name or "": item for value, item in grids.constants.items() if value.uses()}
    activations = _activations(model.graph, grids.activations)
    if placement.activations[0] not in activations:
        first = next(use.node for use in model.graph.inputs[0].uses()).outputs[0]
        raise StageError(
            f"its input is not quantized: the result {_origin(first)} is made of real numbers",
            hint="quantize the input too: the device hands over bytes",
        )
    axes = [item.name for item in placement.weights if item.name in stored]
    layers = {node.name: node.doc_string or node.name for node in model.graph}
    origins = {item.name: f"of {layers[item.node]}" for item in placement.weights}
    data_type = common_type({name: stored[name] for name in axes}, origins)
    values = {value.name or "": value for value in model.graph.initializers.values()}
    weights: dict[str, TensorPlan] = {}
    for name, value in values.items():
        if name not in stored or stored[name].grid.dtype == "int32":
            continue
        planned = _tensor(stored[name].grid, data_type)
        assert value.const_value is not None
        real = np.asarray(value.const_value.numpy(), np.float32)
        wanted = moved(stored[name].integers.astype(np.int64), stored[name].grid.dtype, data_type)
        if np.array_equal(weight_integers(real, planned), wanted):
            weights[name] = planned
        elif name in axes:
            raise StageError(f"the integers of {name} do not come back from their real values")
    per_channel = any(weights[name].axis is not None for name in axes)
    return Plan(
        graph_sha256="0" * 64,
        data_type=data_type,
        scheme="perchannel_symmetric_affine" if per_channel else "asymmetric_affine",
        input=placement.activations[0],
        normalization=preprocess.normalization,
        activations={name: _tensor(grid, data_type) for name, grid in activations.items()},
        weights=weights,
        biases=_biases(model.graph, placement, stored, weights, activations),
    )


def _activations(graph: "ir.Graph", found: "Mapping[ir.Value, Grid]") -> dict[str, Grid]:
    """The grids by name, in graph order, those of rule 4 among them."""
    ordered: dict[str, Grid] = {}
    image = graph.inputs[0]
    for value in (image, *(output for node in graph for output in node.outputs)):
        grid = found.get(value)
        node = value.producer()
        if (
            grid is None
            and node is not None
            and node.op_type in MOVES
            and node.inputs[0] is not None
        ):
            grid = ordered.get(node.inputs[0].name or "")
        if grid is None:
            continue
        if grid.axis is not None:
            raise StageError(
                f"the activation {_origin(value)} has a scale for every channel; SyNAP and TFLite know "
                "one for all",
                hint="quantize activations per tensor (NNCF: AdvancedQuantizationParameters("
                "activations_quantization_params=QuantizationParameters(per_channel=False)))",
            )
        if grid.dtype not in ("uint8", "int8"):
            raise StageError(
                f"the activation {_origin(value)} is {grid.dtype}; 8 bits are known",
                hint=EIGHT_BITS,
            )
        ordered[value.name or ""] = grid
    return ordered


def _origin(value: "ir.Value") -> str:
    """A tensor as the user knows it: by the node of the file that made it."""
    node = value.producer()
    return str(value.name) if node is None or not node.doc_string else f"of {node.doc_string}"


def _tensor(grid: Grid, data_type: DataType) -> TensorPlan:
    return TensorPlan(
        data_type=data_type,
        scale=_floats(grid.scale),
        zero_point=tuple(int(z) for z in moved(grid.zero_point, grid.dtype, data_type)),
        axis=grid.axis,
        source=SOURCE,
    )


def _floats(scales: Iterable[np.float32]) -> tuple[float, ...]:
    return tuple(float(scale) for scale in scales)


def _biases(
    graph: "ir.Graph",
    placement: Placement,
    stored: Mapping[str, Stored],
    weights: Mapping[str, TensorPlan],
    activations: Mapping[str, Grid],
) -> dict[str, BiasPlan]:
    """The int32 biases; where float32 cannot carry one, its correction does."""
    nodes = {node.name or "": node for node in graph}
    biases: dict[str, BiasPlan] = {}
    for name in placement.biased:
        node = nodes[name]
        value = node.inputs[2] if len(node.inputs) > 2 else None
        item = None if value is None else stored.get(value.name or "")
        if value is None or item is None or (node.inputs[1] or value).name not in weights:
            continue
        if item.grid.dtype != "int32" or item.grid.zero_point.any():
            raise StageError(
                f"the bias of {node.doc_string or name} is {item.grid.dtype} with zero point "
                f"{int(item.grid.zero_point[0])}; int32 with 0 is known"
            )
        assert value.const_value is not None
        real = np.asarray(value.const_value.numpy(), np.float32).reshape(-1)
        plan = BiasPlan(scale=_floats(item.grid.scale), source=SOURCE)
        wanted = np.asarray(item.integers).reshape(-1)
        source = activations.get((node.inputs[0] or value).name or "")
        if not wanted.any() and source is not None:
            own = weights[(node.inputs[1] or value).name or ""].scale
            plan = BiasPlan(scale=tuple(float(source.scale[0]) * s for s in own), source=SOURCE)
        if not np.array_equal(bias_integers(real, len(real), plan, name), wanted):
            exact = wanted.astype(np.float64) * np.asarray(plan.scale) - real.astype(np.float64)
            plan = plan.model_copy(update={"correction": tuple(exact.tolist())})
        biases[name] = plan
    return biases
