"""Render Graph and Plan as QDQ ONNX: a graph edit of our own (docs/decisions/0003).

Every quantized tensor passes through QuantizeLinear and DequantizeLinear, weights and biases are
stored as integers behind a DequantizeLinear, and ONNX Runtime fuses the pairs into integer
kernels. Nothing is decided here: what is not in the Plan stays float.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import StageError
from pipeline.graph.file import preprocess_in, set_preprocess
from pipeline.graph.initializers import add_initializer
from pipeline.quant.placement import ACTIVATIONS, activation_bounds, fused_activation
from pipeline.quant.plan import TYPES, BiasPlan, Plan, TensorPlan, weight_type
from pipeline.quant.scheme import IntegerType, along, quantize

if TYPE_CHECKING:
    import onnx_ir as ir

INT32_LIMIT = 2**31 - 1
MICROSOFT = "com.microsoft"


def render_qdq(model: "ir.Model", plan: Plan) -> None:
    """Turn the float Graph that the Plan belongs to into QDQ ONNX, in place."""
    graph = model.graph
    if any(_domain(tensor) for tensor in (*plan.activations.values(), *plan.weights.values())):
        model.opset_imports[MICROSOFT] = 1
    # Weights first: their nodes' other inputs are still the float tensors of the Graph.
    for name, tensor in plan.weights.items():
        type = weight_type(tensor.data_type)
        _quantize_initializer(graph, graph.initializers[name], tensor, type)
    for node in [node for node in graph if node.name in plan.biases]:
        _quantize_bias(graph, node, plan.biases[node.name or ""])
    values = {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}
    for name, tensor in plan.activations.items():
        _quantize_activation(graph, values[name], tensor)
        _drop_saturated(graph, values[name], tensor)
    on_grid = preprocess_in(model, "the Graph").with_normalization(plan.normalization)
    set_preprocess(model, on_grid)


def _parameters(graph: "ir.Graph", name: str, tensor: TensorPlan) -> "list[ir.Value]":
    """Scale and zero point as initializers: scalars, or vectors along the tensor's axis."""
    scale = np.array(tensor.scale, np.float32)
    zero_point = np.array(tensor.zero_point, TYPES[tensor.data_type].dtype)
    if tensor.axis is None:
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    return [
        add_initializer(graph, f"{name}_scale", scale),
        add_initializer(graph, f"{name}_zero_point", zero_point),
    ]


def _domain(tensor: TensorPlan) -> str:
    """ONNX's own QuantizeLinear knows 16 bits from opset 21 on; ONNX Runtime's always has."""
    return MICROSOFT if tensor.data_type == "int16" else ""


def _quantize_activation(graph: "ir.Graph", value: "ir.Value", tensor: TensorPlan) -> None:
    import onnx_ir as ir

    name = value.name
    assert name is not None
    uses = list(value.uses())
    parameters = _parameters(graph, name, tensor)
    pair_name = name.replace("_", "")
    domain = _domain(tensor)
    q = ir.node("QuantizeLinear", [value, *parameters], domain=domain, name=f"{pair_name}Quantize")
    dq = ir.node(
        "DequantizeLinear",
        [q.outputs[0], *parameters],
        domain=domain,
        name=f"{pair_name}Dequantize",
    )
    q.outputs[0].name = f"{name}_quantized"
    result = dq.outputs[0]
    result.shape, result.type = value.shape, value.type
    result.name = f"{name}_dequantized"
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [q, dq])
    else:
        graph.insert_after(producer, [q, dq])
    for use in uses:
        use.node.replace_input_with(use.idx, result)
    if value.is_graph_output():
        graph.outputs[list(graph.outputs).index(value)] = result
        value.name, result.name = f"{name}_real", name


def _drop_saturated(graph: "ir.Graph", value: "ir.Value", tensor: TensorPlan) -> None:
    """Drop a fused Relu or Clip that does what the integers' own saturation does anyway.

    The result is the same to the bit; left in place, it keeps ONNX Runtime from fusing a good
    part of the convolutions into integer kernels.
    """
    import onnx_ir as ir

    node = value.producer()
    if node is None or node.op_type not in ACTIVATIONS or node.inputs[0] is None:
        return
    producer = node.inputs[0].producer()
    if producer is None or fused_activation(producer) is not node:
        return
    type = TYPES[tensor.data_type]
    low, high = activation_bounds(node)
    scale, zero_point = tensor.scale[0], tensor.zero_point[0]
    if low / scale + zero_point > type.minimum + 0.5 or (
        high is not None and high / scale + zero_point < type.maximum - 0.5
    ):
        return
    ir.convenience.replace_all_uses_with(value, node.inputs[0])
    graph.remove(node, safe=True)


def _quantize_initializer(
    graph: "ir.Graph", value: "ir.Value", tensor: TensorPlan, type: IntegerType
) -> None:
    assert value.const_value is not None and value.name is not None
    real = np.asarray(value.const_value.numpy(), np.float64)
    scale = along(np.array(tensor.scale), tensor.axis, real.ndim)
    zero_point = along(np.array(tensor.zero_point, np.float64), tensor.axis, real.ndim)
    integers = quantize(real, scale, zero_point, type).astype(type.dtype)
    stored = add_initializer(graph, f"{value.name}_quantized", integers)
    parameters = _parameters(graph, value.name, tensor)
    _replace_initializer(graph, value, stored, parameters, tensor.axis, _domain(tensor))


def _replace_initializer(
    graph: "ir.Graph",
    value: "ir.Value",
    stored: "ir.Value",
    parameters: "list[ir.Value]",
    axis: int | None,
    domain: str = "",
) -> None:
    """Put `DequantizeLinear(stored)` where the float initializer was read."""
    import onnx_ir as ir

    assert value.name is not None
    uses = list(value.uses())
    dq = ir.node(
        "DequantizeLinear",
        [stored, *parameters],
        attributes={} if axis is None else {"axis": axis},
        domain=domain,
        name=f"{value.name.replace('_', '')}Dequantize",
    )
    dq.outputs[0].name = f"{value.name}_dequantized"
    graph.insert_before(uses[0].node, dq)
    for use in uses:
        use.node.replace_input_with(use.idx, dq.outputs[0])
    del graph.initializers[value.name]


def _quantize_bias(graph: "ir.Graph", node: "ir.Node", bias: BiasPlan) -> None:
    correction = 0.0 if bias.correction is None else np.array(bias.correction)
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None and bias.correction is None:
        return
    name = f"{node.name}_bias"
    if value is None:
        assert bias.correction is not None
        value = add_initializer(graph, name, np.zeros(len(bias.correction), np.float32))
        node.resize_inputs(3)
        node.replace_input_with(2, value)
    assert value.const_value is not None
    real = np.asarray(value.const_value.numpy(), np.float64).reshape(-1) + correction
    steps = np.rint(real / np.array(bias.scale))
    if np.abs(steps).max(initial=0.0) > INT32_LIMIT:
        raise StageError(f"the bias of {node.name} does not fit into int32 at its scale")
    per_channel = len(bias.scale) > 1
    scale = np.array(bias.scale, np.float32)
    zero_point = np.zeros(len(bias.scale), np.int32)
    parameters = [
        add_initializer(graph, f"{name}_scale", scale if per_channel else scale.reshape(())),
        add_initializer(
            graph, f"{name}_zero_point", zero_point if per_channel else zero_point.reshape(())
        ),
    ]
    stored = add_initializer(graph, f"{name}_quantized", steps.astype(np.int32))
    _replace_initializer(graph, value, stored, parameters, 0 if per_channel else None)
