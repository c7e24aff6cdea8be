"""What is said of ONNX files; the expected numbers are those of the Plans that made them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import METADATA_KEY
from pipeline.errors import StageError
from pipeline.inspect.inspection import Contents
from pipeline.inspect.onnx_file import describe_onnx, onnx_contents

Make = Callable[..., bytes]
FLOAT = "float model: the NPU would run it as float16, up to 100 times slower"


def described(content: bytes) -> Contents:
    return onnx_contents(content, "m.onnx")


def test_a_float_model(files: Any, lab: Any) -> None:
    contents = describe_onnx(files.float_onnx)
    assert contents.format == "onnx"
    assert contents.facts["opset"] == 13
    assert contents.facts["ir_version"] == 8
    assert contents.facts["parameters"] == 6 * 27 + 6 + 4 * 6 + 4
    assert dict(contents.operators) == {
        "Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    [image], [scores] = contents.inputs, contents.outputs
    assert (image.name, image.shape) == ("input", ("batch", 3, lab.SIZE, lab.SIZE))
    assert (image.dtype, image.layout, image.scale) == ("float32", "nchw", ())
    assert (image.means, image.deviations) == ((127.0,) * 3, (127.5,) * 3)
    assert (scores.name, scores.shape, scores.means) == ("logits", ("batch", 4), ())
    assert contents.quantization is not None
    assert contents.quantization.kind == "float"
    assert contents.quantization.data_type == "float32"
    assert contents.warnings[0] == FLOAT


@pytest.mark.parametrize(
    ("name", "data_type", "scheme", "step", "zero"),
    [
        ("qdq_onnx", "uint8", "asymmetric_affine", 0.375, 128),
        ("channels_onnx", "int8", "perchannel_symmetric_affine", 0.375, -1),
        ("fixed_onnx", "int16", "dynamic_fixed_point", 0.25, 0),
    ],
)
def test_quantized_models(
    files: Any, lab: Any, name: str, data_type: str, scheme: str, step: float, zero: int
) -> None:
    contents = describe_onnx(getattr(files, name))
    facts = contents.quantization
    assert facts is not None
    assert (facts.kind, facts.form, facts.data_type) == ("quantized", "QDQ", data_type)
    assert (facts.scheme, facts.tensors) == (scheme, 7)
    [image], [scores] = contents.inputs, contents.outputs
    assert (image.dtype, image.quantized_to) == ("float32", data_type)
    assert (image.scale, image.zero_point) == ((lab.STEP,), (zero,))
    assert (scores.quantized_to, scores.scale, scores.zero_point) == (data_type, (step,), (zero,))
    assert FLOAT not in contents.warnings


def test_weights_only(onnx_bytes: Make) -> None:
    """As onnxruntime's weight-only tools leave a model."""

    def edit(proto: Any) -> None:
        stored = next(t for t in proto.graph.initializer if t.name == "w1")
        integers = np.rint(numpy_helper.to_array(stored) / 0.01).astype(np.int8)
        stored.CopyFrom(numpy_helper.from_array(integers, "w1q"))
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(0.01), "s"))
        node = helper.make_node("DequantizeLinear", ["w1q", "s"], ["w1"])
        proto.graph.node.insert(0, node)

    facts = described(onnx_bytes(edit)).quantization
    assert facts is not None
    assert (facts.kind, facts.data_type, facts.tensors) == ("weights only", "int8", 1)


def test_integer_operators(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        proto.graph.node[0].op_type = "QLinearConv"

    facts = described(onnx_bytes(edit)).quantization
    assert facts is not None
    assert (facts.kind, facts.form) == ("quantized", "QOperator")


def test_beyond_the_runtime(onnx_bytes: Make) -> None:
    def edit(opset: int, ir_version: int) -> Callable[[Any], None]:
        def change(proto: Any) -> None:
            proto.opset_import[0].version, proto.ir_version = opset, ir_version

        return change

    ceiling = "ends at opset 19 and IR 9"
    assert not any(ceiling in word for word in described(onnx_bytes(edit(19, 9))).warnings)
    for opset, ir_version in ((20, 9), (19, 10)):
        words = described(onnx_bytes(edit(opset, ir_version))).warnings
        assert any(f"opset {opset} and IR {ir_version}" in word for word in words)


def test_what_the_toolkit_does_not_take(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        proto.graph.node[1].domain = "com.microsoft"
        proto.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "k"]))

    words = " | ".join(described(onnx_bytes(edit)).warnings)
    assert "operators of com.microsoft" in words
    assert "int64 at ids" in words
    assert "free sizes at ids" in words
    assert "the batch size is free at input, logits" in words


@pytest.mark.parametrize(
    ("location", "leads_out"),
    [("weights.bin", False), ("../../etc/passwd", True), ("/etc/passwd", True), ("C:\\x", True)],
)
def test_other_files_are_named_and_not_read(
    onnx_bytes: Make, tmp_path: Path, location: str, leads_out: bool
) -> None:
    def edit(proto: Any) -> None:
        stored = proto.graph.initializer[0]
        stored.ClearField("raw_data")
        stored.data_location = TensorProto.EXTERNAL
        stored.external_data.add(key="location", value=location)
        stored.external_data.add(key="offset", value="0")

    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes(edit))
    words = describe_onnx(path).warnings
    assert any("1 tensors lie in other files, not read" in word for word in words)
    assert any("lead out of the model's folder" in word for word in words) is leads_out


def test_a_preprocessing_that_is_none(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        [entry] = [entry for entry in proto.metadata_props if entry.key == METADATA_KEY]
        entry.value = "resize to 224"

    contents = described(onnx_bytes(edit))
    assert contents.inputs[0].means == ()
    assert any("are no preprocessing" in word for word in contents.warnings)


def test_scales_that_are_no_constants(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        proto.graph.node.append(helper.make_node("QuantizeLinear", ["input", "r1"], ["q"]))
        proto.graph.node.append(helper.make_node("QuantizeLinear", ["input"], ["q2"]))

    contents = described(onnx_bytes(edit))
    assert contents.quantization is not None
    assert contents.quantization.kind == "float"


@pytest.mark.parametrize(
    ("point", "well"), [(np.nan, False), (np.inf, False), (-np.inf, False), (0.5, False), (3, True)]
)
def test_a_zero_point_of_floats(onnx_bytes: Make, point: float, well: bool) -> None:
    def edit(proto: Any) -> None:
        for name, value in (("step", 0.5), ("zero", point)):
            proto.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        proto.graph.node.append(
            helper.make_node("QuantizeLinear", ["input", "step", "zero"], ["q"])
        )

    content = onnx_bytes(edit)
    if well:
        assert described(content).inputs[0].zero_point == (3,)
        return
    with pytest.raises(StageError, match=r"m.onnx: is not .*: a zero point is no integer"):
        described(content)


def test_names_do_nothing_to_a_terminal(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        proto.graph.output[0].name = "\x1b[2J" + "n" * 10_000
        proto.graph.node[0].op_type = "Co\nnv"
        proto.producer_name = "\x07"

    contents = described(onnx_bytes(edit))
    assert contents.outputs[0].name.startswith("\\x1b[2Jnnn")
    assert len(contents.outputs[0].name) < 250
    assert "Co\\nnv" in contents.operators
    assert contents.facts["producer"] == "\\x07"


def test_too_many_outputs(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        for number in range(1_000):
            proto.graph.output.add(name=f"o{number}")

    with pytest.raises(StageError, match=r"m.onnx: is not .* more than 1000 inputs or outputs"):
        described(onnx_bytes(edit))


def test_the_sample(sample_data: Path) -> None:
    contents = describe_onnx(sample_data / "mobilenet_v2_1.0_224_float.onnx")
    assert contents.operators["Conv"] == 53
    assert contents.outputs[0].shape == ("N", 1001)
