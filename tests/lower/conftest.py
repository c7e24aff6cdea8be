"""One operator at a time: a float graph, a Plan made by hand, and both renderings run on the same
integers. Nothing here goes through calibration, so scales and zero points can be anything."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.graph.file import set_preprocess
from pipeline.lower.operators import Lowered
from pipeline.quant.placement import FIXED_SCALE, KEEPS_SCALE, WEIGHT_AXIS, fused_activation
from pipeline.quant.plan import TYPES, BiasPlan, Plan, TensorPlan, weight_type
from pipeline.quant.qdq import render_qdq
from pipeline.quant.scheme import asymmetric, symmetric
from pipeline.runners.onnx import make_session

Integers = NDArray[np.int64]
Node = tuple[str, list[str], str, dict[str, Any]]
FIXED = {
    "Softmax": {"uint8": (1 / 256, 0), "int8": (1 / 256, -128)},
    "Sigmoid": {"uint8": (1 / 256, 0), "int8": (1 / 256, -128)},
    "Tanh": {"uint8": (1 / 128, 128), "int8": (1 / 128, 0)},
}
"""From the TFLite quantization specification."""


def graph_of(
    nodes: Sequence[Node],
    inputs: Mapping[str, Sequence[int]],
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> ir.Model:
    """A graph of named tensors; nodes are `(operator, inputs, output, attributes)`, the node has
    its output's name, several outputs have spaces between them, and the shapes of inputs come
    without the batch size."""
    graph = helper.make_graph(
        [helper.make_node(op, i, o.split(), name=o.split()[0], **a) for op, i, o, a in nodes],
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    model = ir.from_proto(proto)
    set_preprocess(model, Preprocess(size=8))
    return model


def float_values(model: ir.Model, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every tensor of the graph on these real inputs."""
    proto = ir.to_proto(model)
    names = [output for node in proto.graph.node for output in node.output]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    results = make_session(proto.SerializeToString(), 1).run(
        None, {name: value.astype(np.float32) for name, value in feeds.items()}
    )
    return {**feeds, **dict(zip(names, results, strict=True))}


def tensor_plan(data_type: str, scale: float, zero_point: int) -> TensorPlan:
    scale = float(np.float32(scale))
    return TensorPlan(data_type=data_type, scale=(scale,), zero_point=(zero_point,), source="test")


def real_of(integers: Integers, tensor: TensorPlan) -> NDArray[np.float64]:
    return (integers - tensor.zero_point[0]) * tensor.scale[0]


def integers_of(real: NDArray[Any], tensor: TensorPlan) -> Integers:
    """Of values that are on the grid already, or to be rounded half to even and saturated."""
    type = TYPES[tensor.data_type]
    steps = np.rint(np.asarray(real, np.float64) / tensor.scale[0]) + tensor.zero_point[0]
    return np.clip(steps, type.minimum, type.maximum).astype(np.int64)


def plan_of(
    model: ir.Model,
    inputs: Mapping[str, TensorPlan],
    feeds: Mapping[str, Integers],
    *,
    data_type: str,
    per_channel: bool = False,
    reach: float = 1.0,
    corrections: Mapping[str, Sequence[float]] | None = None,
) -> Plan:
    """A Plan by TFLite's rules; `reach` times the range that occurs is what results cover."""
    real = {name: real_of(feeds[name], tensor) for name, tensor in inputs.items()}
    values = float_values(model, real)
    activations, weights, biases = dict(inputs), {}, {}
    for node in model.graph:
        name = node.outputs[0].name or ""
        if fused_activation(node) is None:
            source = activations.get((node.inputs[0].name if node.inputs[0] else "") or "")
            for result in (output.name or "" for output in node.outputs):
                activations[result] = _result_plan(
                    node.op_type, source, values[result], data_type, reach
                )
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None:
                continue
            array = value.const_value.numpy()
            if node.op_type in WEIGHT_AXIS and index == 1:
                axis = WEIGHT_AXIS[node.op_type]
                if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0):
                    axis = 1
                weights[value.name] = _weight_plan(array, data_type, axis if per_channel else None)
                scale = weights[value.name].scale
                if node.op_type != "MatMul":  # it has no place for one
                    biases[name] = BiasPlan(
                        scale=tuple(activations[node.inputs[0].name].scale[0] * s for s in scale),
                        correction=None if corrections is None else tuple(corrections[name]),
                    )
            elif node.op_type in ("Add", "Sub", "Mul", "Concat"):
                weights[value.name] = _weight_plan(array, data_type, None)
    return Plan(
        graph_sha256="0" * 64,
        data_type=data_type,
        scheme="perchannel_symmetric_affine" if per_channel else "asymmetric_affine",
        input=model.graph.inputs[0].name,
        normalization=Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        activations=activations,
        weights=weights,
        biases=biases,
    )


def _result_plan(
    op: str, source: TensorPlan | None, values: NDArray[Any], data_type: str, reach: float
) -> TensorPlan:
    if op in FIXED_SCALE:
        return tensor_plan(data_type, *FIXED[op][data_type])
    if source is not None and (op in KEEPS_SCALE or (op == "Concat" and data_type == "int8")):
        return source
    ends = values[np.isfinite(values)]
    scale, zero_point = asymmetric(
        reach * float(ends.min()), reach * float(ends.max()), TYPES[data_type]
    )
    return tensor_plan(data_type, scale, zero_point)


def _weight_plan(values: NDArray[Any], data_type: str, axis: int | None) -> TensorPlan:
    type = weight_type(data_type)
    if axis is not None:
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = symmetric(np.abs(values).max(axis=others), type)
        zero_point = np.zeros(len(scale), int)
    elif type.minimum == 0:
        scale, zero_point = map(
            np.atleast_1d, asymmetric(float(values.min()), float(values.max()), type)
        )
    else:
        scale, zero_point = symmetric(np.abs(values).max(keepdims=True).reshape(1), type), [0]
    return TensorPlan(
        data_type=data_type,
        scale=tuple(map(float, scale)),
        zero_point=tuple(map(int, zero_point)),
        axis=axis,
        source="test",
    )


def run_onnx(model: ir.Model, plan: Plan, feeds: Mapping[str, Integers]) -> Integers:
    """The integers that ONNX Runtime gives for the QDQ rendering, in ONNX's order."""
    rendered = ir.from_proto(ir.to_proto(model))
    name = rendered.graph.outputs[0].name or ""
    render_qdq(rendered, plan)
    real = {n: real_of(x, plan.activations[n]).astype(np.float32) for n, x in feeds.items()}
    result = make_session(ir.to_proto(rendered).SerializeToString(), 1).run(None, real)[0]
    return integers_of(result, plan.activations[name])


def run_tflite(
    content: bytes, feeds: Mapping[str, Integers], *, resolver: str = "AUTO"
) -> Integers:
    """The integers that LiteRT gives, in ONNX's order; images one after another."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=getattr(OpResolverType, resolver),
    )
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]["index"]
    results = []
    for image in range(len(next(iter(feeds.values())))):
        for detail in interpreter.get_input_details():
            one = feeds[detail["name"]][image : image + 1]
            stored = one.transpose(0, 2, 3, 1) if one.ndim == 4 else one
            interpreter.set_tensor(detail["index"], stored.astype(detail["dtype"]))
        interpreter.invoke()
        result = interpreter.get_tensor(output).astype(np.int64)
        results.append(result.transpose(0, 3, 1, 2) if result.ndim == 4 else result)
    return np.concatenate(results)


@dataclass(frozen=True)
class Rendered:
    """The same integers through both renderings."""

    plan: Plan
    feeds: Mapping[str, Integers]
    onnx: Integers
    tflite: Integers
    kinds: list[str]
    content: bytes

    @property
    def steps(self) -> int:
        """The largest difference."""
        assert self.onnx.shape == self.tflite.shape
        return int(np.abs(self.onnx - self.tflite).max())


def random_integers(random: np.random.Generator, shape: Sequence[int], data_type: str) -> Integers:
    """All integers of a type, with stretches of equal ones, as images have them."""
    type = TYPES[data_type]
    values = random.integers(type.minimum, type.maximum + 1, shape)
    ends = random.choice([type.minimum, type.maximum], shape)
    return np.where(random.random(shape) < 0.1, ends, values)


def both(
    nodes: Sequence[Node],
    inputs: Mapping[str, Sequence[int]],
    constants: Mapping[str, NDArray[Any]] | None = None,
    *,
    data_type: str,
    seed: int = 0,
    images: int = 2,
    share: bool = False,
    **options: Any,
) -> Rendered:
    """Draw integers and scales for the inputs, make the Plan, and run both renderings; `share`
    gives all inputs one scale."""
    random = np.random.default_rng(seed)
    model = graph_of(nodes, inputs, constants)
    type = TYPES[data_type]
    scales: dict[str, TensorPlan] = {}
    for name in inputs:
        drawn = tensor_plan(
            data_type,
            float(random.uniform(0.004, 0.1)),
            int(random.integers(type.minimum, type.maximum + 1)),
        )
        scales[name] = next(iter(scales.values()), drawn) if share else drawn
    feeds = {
        name: random_integers(random, (images, *shape), data_type) for name, shape in inputs.items()
    }
    plan = plan_of(model, scales, feeds, data_type=data_type, **options)
    lowered = Lowered(model, plan)
    content = lowered.to_bytes({})
    given, made = run_onnx(model, plan, feeds), run_tflite(content, feeds)
    return Rendered(plan, feeds, given, made, lowered.kinds, content)


def codes(content: bytes) -> list[tuple[str, int]]:
    """Names and versions of a file's operators, in order, read with the schema."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    known = [(names[code.builtinCode], code.version) for code in model.operatorCodes]
    return [known[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


@pytest.fixture(scope="session")
def ops() -> Any:
    """The functions of this file, because test files cannot import one another."""
    functions = (
        *(graph_of, plan_of, tensor_plan, real_of, integers_of, random_integers),
        *(run_onnx, run_tflite, both, codes),
    )
    return SimpleNamespace(**{function.__name__: function for function in functions})


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of real models and pictures; tests that want it skip where there is none."""
    folder = os.environ.get("PIPELINE_SAMPLE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PIPELINE_SAMPLE_DATA names no folder with the MobileNet V2 sample")
    return Path(folder)
