"""Run a few nodes of a graph by themselves, on tensors given by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.plan import TYPES, TensorPlan

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Float = NDArray[np.float32]


def run_node(
    node: "ir.Node",
    values: Mapping[str, Float],
    threads: int,
    *,
    constants: Mapping[int, Float] | None = None,
) -> Float:
    """The first output of a node. `constants` replace its own initializers, by input number."""
    (result,) = run_outputs(node, values, threads, node.outputs[:1], constants=constants)
    return result


def run_outputs(
    node: "ir.Node",
    values: Mapping[str, Float],
    threads: int,
    wanted: "Sequence[ir.Value]",
    *,
    constants: Mapping[int, Float] | None = None,
) -> list[Float]:
    """These outputs of a node, as `run_node` has it."""
    import onnx_ir as ir
    from onnx import TensorProto, numpy_helper

    replaced = constants or {}
    proto = ir.to_proto(node)
    feeds: dict[str, Float] = {}
    stored = []
    for index, value in enumerate(node.inputs):
        if value is None or value.name is None:
            continue
        if index in replaced:
            name = proto.input[index] = f"constant{index}"
            stored.append(numpy_helper.from_array(replaced[index], name))
        elif value.const_value is not None:
            stored.append(numpy_helper.from_array(value.const_value.numpy(), value.name))
        else:
            feeds[value.name] = values[value.name]
    results = {
        value.name or "": TensorProto.FLOAT if value.dtype is None else int(value.dtype)
        for value in wanted
    }
    return _run([proto], feeds, results, stored, threads)


def fake_quantize(values: Float, tensor: TensorPlan, threads: int) -> Float:
    """The real values that the tensor's integers stand for, by ONNX Runtime's own rounding."""
    from onnx import TensorProto, helper, numpy_helper

    scale = np.array(tensor.scale[0], np.float32)
    zero_point = np.array(tensor.zero_point[0], TYPES[tensor.data_type].dtype)
    domain = "com.microsoft" if tensor.data_type == "int16" else ""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], domain=domain),
    ]
    stored = [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(zero_point, "z")]
    return _run(nodes, {"x": values}, {"y": TensorProto.FLOAT}, stored, threads)[0]


def _run(
    nodes: "Sequence[onnx.NodeProto]",
    feeds: Mapping[str, Float],
    outputs: Mapping[str, int],
    stored: "Sequence[onnx.TensorProto]",
    threads: int,
) -> list[Float]:
    """Run nodes on arrays; `outputs` are ONNX's types by name: an activation may be made of
    comparisons, whose results are no real numbers."""
    from onnx import helper

    from pipeline.graph.canonical import IR_VERSION, OPSET
    from pipeline.runners.onnx import make_session

    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feeds.items()
    ]
    results = [helper.make_tensor_value_info(name, type, None) for name, type in outputs.items()]
    graph = helper.make_graph(nodes, "nodes", inputs, results, stored)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    session = make_session(model.SerializeToString(), threads)
    arrays: list[Float] = session.run(list(outputs), dict(feeds))
    return arrays
