"""QDQ files of ONNX Runtime's own quantizer come back, as Graph and Plan, to the bit."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.check.metrics import sqnr_db
from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.foreign import Came
from pipeline.graph.proof import original_logits, pictures
from pipeline.lower.operators import Lowered
from pipeline.quant.placement import activation_bounds
from pipeline.quant.plan import Plan
from pipeline.quant.plan_from_qdq import plan_from_qdq
from pipeline.quant.qdq import render_qdq
from pipeline.quant.qdq_read import refuse_integer_operators
from pipeline.runners.onnx import make_session

SIZE = 16
VIEW = Preprocess(size=SIZE)
Quantized = Callable[..., onnx.ModelProto]


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.4, shape).astype(np.float32)


def float_model() -> onnx.ModelProto:
    """Convolutions with ReLU and without, depthwise, a sum, a concatenation, pools, Softmax."""

    def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs.split(), [output], name=f"/{output}", **attributes)

    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", "image w1 b1", "c1", **pads), node("Relu", "c1", "r1"),
        node("MaxPool", "r1", "m1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "m1 w2 b2", "c2", **pads, group=6), node("Clip", "c2 low high", "r2"),
        node("Conv", "r2 w3 b3", "c3"), node("Add", "c3 m1", "a1"), node("Relu", "a1", "r3"),
        node("AveragePool", "r3", "v1", kernel_shape=[3, 3], **pads),
        node("Concat", "v1 c3", "k1", axis=1),
        node("GlobalAveragePool", "k1", "g1"), node("Flatten", "g1", "f1"),
        node("Gemm", "f1 w4 b4", "z", transB=1), node("Softmax", "z", "scores", axis=1),
    ]  # fmt: skip
    constants = {
        "w1": normal(6, 3, 3, 3), "b1": normal(6), "w2": normal(6, 1, 3, 3), "b2": normal(6, seed=1),
        "w3": normal(6, 6, 1, 1), "b3": normal(6, seed=2), "w4": normal(10, 12), "b4": normal(10),
        "low": np.float32(0), "high": np.float32(6),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """`quantized(activations, weights, per_channel, **extra)`: as quantize_static leaves it."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    root = tmp_path_factory.mktemp("qdq")
    onnx.save(float_model(), root / "float.onnx")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._crops: Iterator[Any] = iter(pictures(SIZE))

        def get_next(self) -> Any:
            crop = next(self._crops, None)
            return None if crop is None else {"image": VIEW.normalization.apply(crop[None])}

    made: dict[str, onnx.ModelProto] = {}

    def make(
        activations: str = "uint8",
        weights: str = "int8",
        per_channel: bool = False,
        format: str = "QDQ",
        **extra: Any,
    ) -> onnx.ModelProto:
        types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8, "int16": QuantType.QInt16}
        key = f"{activations}-{weights}-{per_channel}-{format}-{extra}"
        if key not in made:
            quantize_static(
                root / "float.onnx", root / "made.onnx", Reader(), per_channel=per_channel,
                quant_format=QuantFormat[format], activation_type=types[activations],
                weight_type=types[weights], extra_options=extra,
            )  # fmt: skip
            made[key] = onnx.load(root / "made.onnx")
        return copy.deepcopy(made[key])

    return make


def imported(proto: onnx.ModelProto) -> tuple[ir.Model, Came, Plan]:
    graph = ir.from_proto(copy.deepcopy(proto))
    came, plan = plan_from_qdq(graph, VIEW, "q.onnx")
    return graph, came, plan


def both(proto: onnx.ModelProto, optimize: bool) -> tuple[Any, Any, Plan]:
    """The logits of the file and of the rendering."""
    graph, came, plan = imported(proto)
    render_qdq(graph, plan)
    crops = pictures(SIZE)
    expected = original_logits(ir.from_proto(proto), came, VIEW, crops, 1, optimize=optimize)
    session = make_session(ir.to_proto(graph).SerializeToString(), 1, optimize=optimize)
    return expected, session.run(None, {"input": plan.normalization.apply(crops)})[0], plan


KINDS = {
    "uint8": ("uint8", "uint8", False, "uint8", "asymmetric_affine"),
    "mixed": ("uint8", "int8", False, "int8", "asymmetric_affine"),
    "mixed per channel": ("uint8", "int8", True, "int8", "perchannel_symmetric_affine"),
    "int8": ("int8", "int8", False, "int8", "asymmetric_affine"),
    "int8 per channel": ("int8", "int8", True, "int8", "perchannel_symmetric_affine"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_rendering_is_the_file(quantized: Quantized, kind: str) -> None:
    activations, weights, per_channel, data_type, scheme = KINDS[kind]
    proto = quantized(activations, weights, per_channel)
    expected, made, plan = both(proto, optimize=False)
    assert np.array_equal(made, expected), "in float arithmetic, to the bit"
    assert expected.std(axis=0).max() > 0.01, "the pictures make a difference"
    expected, made, _ = both(proto, optimize=True)
    assert np.abs(made - expected).max() <= 2.001 * plan.activations["logits"].scale[0]
    assert (plan.data_type, plan.scheme, plan.normalization) == (
        data_type, scheme, VIEW.normalization,
    )  # fmt: skip
    assert {tensor.data_type for tensor in plan.activations.values()} == {data_type}
    assert set(plan.biases) == {"conv1", "conv2", "conv3", "gemm1"}
    assert set(plan.weights) == {"conv1_weight", "conv2_weight", "conv3_weight", "gemm1_weight"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_is_the_float_model(quantized: Quantized, kind: str) -> None:
    """Also where the quantizer dropped a ReLU, because the integers end at 0 anyway."""
    activations, weights, per_channel, _, _ = KINDS[kind]
    proto = quantized(activations, weights, per_channel)
    graph, came, plan = imported(proto)
    crops = pictures(SIZE)
    came = dataclasses.replace(came, output="z")
    expected = original_logits(ir.from_proto(float_model()), came, VIEW, crops, 1)
    session = make_session(ir.to_proto(graph).SerializeToString(), 1)
    made = session.run(None, {"input": plan.normalization.apply(crops)})[0]
    # The weights are rounded, and nothing else is.
    assert sqnr_db(made, expected) > 25.0
    kept = [node.op_type for node in graph.graph if node.op_type in ("Relu", "Clip")]
    assert len(kept) == 3, "as in the float model"


def test_an_activation_that_ends_at_six_is_relu6(quantized: Quantized) -> None:
    proto = quantized("uint8", "uint8")
    assert not any(node.op_type in ("Relu", "Clip") for node in proto.graph.node)
    graph, _, _ = imported(changed(proto, "r2_scale", 6 / 255))
    assert [node.op_type for node in graph.graph if node.op_type in ("Relu", "Clip")] == [
        "Relu", "Clip", "Relu",
    ]  # fmt: skip
    [clip] = [node for node in graph.graph if node.op_type == "Clip"]
    assert activation_bounds(clip) == (0.0, 6.0)
    expected, made, _ = both(changed(proto, "r2_scale", 6 / 255), optimize=False)
    assert np.array_equal(made, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_a_tflite_form(quantized: Quantized, lite: Any, kind: str) -> None:
    activations, weights, per_channel, data_type, _ = KINDS[kind]
    proto = quantized(activations, weights, per_channel)
    graph, came, plan = imported(proto)
    if data_type == "int8":
        # TFLite's int8 concatenation does not rescale, and ONNX Runtime's quantizer does not know.
        with pytest.raises(StageError, match=r"^Concat concat1: TFLite does not rescale here"):
            Lowered(graph, plan)
        return
    expected = original_logits(ir.from_proto(proto), came, VIEW, pictures(SIZE), 1)
    made = lite(graph, plan, pictures(SIZE))
    assert np.abs(made - expected).max() <= 3.001 * plan.activations["logits"].scale[0]


@pytest.fixture
def lite(tmp_path: Path) -> Any:
    """LiteRT's logits of a Graph and a Plan."""
    from pipeline.lower.render import render_tflite
    from pipeline.runners import open_runner

    def run(graph: ir.Model, plan: Plan, crops: NDArray[np.uint8]) -> Any:
        (tmp_path / "m.tflite").write_bytes(render_tflite(graph, plan, None))
        return open_runner("tflite", tmp_path / "m.tflite", None, 1)(crops)

    return run


def test_asymmetric_int8_weights_are_uint8(quantized: Quantized) -> None:
    proto = quantized("int8", "int8", WeightSymmetric=False)
    expected, made, plan = both(proto, optimize=False)
    assert np.array_equal(made, expected)
    assert plan.data_type == "uint8"
    assert any(tensor.zero_point != (128,) for tensor in plan.weights.values())


def test_the_softmax_and_its_pair_go(quantized: Quantized) -> None:
    graph, came, plan = imported(quantized())
    assert came.stripped == "Softmax"
    assert [node.op_type for node in graph.graph][-1] == "Gemm"
    assert "logits" in plan.activations


def test_a_plan_of_another_form_is_refused_with_the_reason(quantized: Quantized) -> None:
    with pytest.raises(
        StageError, match=r"weights of /c1 have the integer -128.* scale for every channel"
    ):
        imported(quantized("uint8", "uint8", True))
    shifted = changed(quantized("uint8", "int8", True), "w1_zero_point", [0, 0, 5, 0, 0, 0])
    with pytest.raises(StageError, match=r"zero points other than 0 \(as int8\), such as 5"):
        imported(shifted)
    with pytest.raises(StageError, match="is of int16; known are uint8, int8, int32"):
        imported(quantized("int16", "int8"))
    with pytest.raises(StageError, match=r"q.onnx: is not quantized: it has no QuantizeLinear"):
        imported(float_model())


def test_integer_operators_are_named(quantized: Quantized) -> None:
    model = ir.from_proto(quantized("uint8", "uint8", format="QOperator"))
    with pytest.raises(StageError, match=r"^q.onnx: QLinearConv '/c1_quant' computes on integers"):
        refuse_integer_operators(model.graph, "q.onnx")


def test_the_runtimes_own_operators(quantized: Quantized) -> None:
    """UseQDQContribOps writes the pairs in com.microsoft."""
    proto = quantized("uint8", "uint8", UseQDQContribOps=True)
    assert any(node.domain == "com.microsoft" for node in proto.graph.node)
    expected, made, _ = both(proto, optimize=False)
    assert np.array_equal(made, expected)


def changed(proto: onnx.ModelProto, name: str, value: Any) -> onnx.ModelProto:
    """The model with another value of an initializer."""
    [tensor] = [item for item in proto.graph.initializer if item.name == name]
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, array.dtype), name))
    return proto


def test_damage_is_named(quantized: Quantized) -> None:
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(StageError, match="has a scale that is not positive"):
            imported(changed(quantized(), "image_scale", scale))
    proto = quantized()
    reader = next(n for n in proto.graph.node if n.name == "image_DequantizeLinear")
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(9), "other"))
    reader.input[1] = "other"
    with pytest.raises(StageError, match="'image' is dequantized by other scales"):
        imported(proto)
    proto = quantized()
    for node in proto.graph.node:  # the image is read as it is
        for index, name in enumerate(node.input):
            if name == "image_DequantizeLinear_Output":
                node.input[index] = "image"
    with pytest.raises(StageError, match="its input is not quantized"):
        imported(proto)


@pytest.mark.parametrize(("factor", "shift", "mean"), [(1 / 127.5, -1.0, 0.5), (1 / 255, 0.0, 0.0)])
def test_what_is_done_before_the_first_pair_is_preprocessing(
    quantized: Quantized, factor: float, shift: float, mean: float
) -> None:
    """NNCF quantizes what the first convolution reads, behind a normalization of the model's own; it
    is no layer either, whose integers that end at 0 would stand for a ReLU."""
    proto = changed(quantized("uint8", "int8"), "image_scale", factor)
    changed(proto, "image_zero_point", 0 if shift == 0 else 128)
    expected = imported(copy.deepcopy(proto))[2].activations
    first = next(node for node in proto.graph.node if node.op_type == "QuantizeLinear"
                 and node.input[0] == "image")  # fmt: skip
    first.input[0] = "scaled"
    steps = [helper.make_node("Mul", ["image", "step"], ["raw"], name="/rescaling"),
             helper.make_node("Add", ["raw", "shift"], ["scaled"], name="/moved")]  # fmt: skip
    for step in steps[::-1]:
        proto.graph.node.insert(0, step)
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "step"))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(shift), "shift"))
    fed = VIEW.model_copy(update={"mean": (0.0,) * 3, "std": (1 / 255,) * 3})
    graph = ir.from_proto(proto)
    _, plan = plan_from_qdq(graph, fed, "q.onnx")
    assert plan.normalization.mean == pytest.approx((mean,) * 3)
    assert plan.normalization.std == pytest.approx((1 / (255 * factor),) * 3)
    assert plan.activations == expected


def test_weights_that_are_quantized_while_the_model_runs(quantized: Quantized) -> None:
    """As trainers that know of quantization write them: float weights before a pair."""
    proto = quantized("uint8", "int8")
    expected, _, _ = both(proto, optimize=False)
    [stored] = [item for item in proto.graph.initializer if item.name == "w1_quantized"]
    [scale] = [item for item in proto.graph.initializer if item.name == "w1_scale"]
    integers = numpy_helper.to_array(stored)
    real = integers.astype(np.float32) * numpy_helper.to_array(scale) * np.float32(1.0001)
    proto.graph.initializer.remove(stored)
    proto.graph.initializer.append(numpy_helper.from_array(real, "w1_float"))
    pair = ["w1_float", "w1_scale", "w1_zero_point"]
    proto.graph.node.insert(0, helper.make_node("QuantizeLinear", pair, ["w1_quantized"]))
    again, made, plan = both(proto, optimize=False)
    assert np.array_equal(again, expected) and np.array_equal(made, expected)
    assert "conv1_weight" in plan.weights


def test_biases_of_zero_take_their_layers_scale(quantized: Quantized) -> None:
    """Exporters share equal biases between layers, and with them a scale that fits only one."""
    proto = changed(quantized("uint8", "uint8"), "b3_quantized", np.zeros(6))
    [scale] = [item for item in proto.graph.initializer if item.name == "b3_quantized_scale"]
    array = numpy_helper.to_array(scale)
    scale.CopyFrom(numpy_helper.from_array(array * np.float32(7), scale.name))
    expected, made, plan = both(proto, optimize=False)
    assert np.array_equal(made, expected)
    source = plan.activations["relu2"]
    weights = plan.weights["conv3_weight"]
    np.testing.assert_allclose(plan.biases["conv3"].scale, source.scale[0] * weights.scale[0])
    other = changed(quantized("uint8", "uint8"), "b3_quantized", [3, 0, 0, 0, 0, 1 << 30])
    expected, made, plan = both(other, optimize=False)
    assert np.array_equal(made, expected)
