"""Every rule for a metafile, broken once or more; and what looks like it and is legal."""

from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.synap.metafile import Metafile, ModelFormat
from pipeline.synap.metafile_check import RULES, broken_rules, dump_metafile

IMAGE = {
    "name": "input",
    "shape": [1, 3, 8, 8],
    "means": [127.5, 127.5, 127.5],
    "scale": 127.5,
    "format": "rgb",
}
QUANTIZATION = {"data_type": "uint8", "scheme": "asymmetric_affine", "dataset": ["images/*.png"]}
GOOD: dict[str, Any] = {
    "delegate": "npu",
    "inputs": [IMAGE],
    "outputs": [{"name": "logits"}],
    "quantization": QUANTIZATION,
}


def metafile(**change: Any) -> Metafile:
    return Metafile.model_validate({**GOOD, **change})


def image(**change: Any) -> dict[str, Any]:
    return {"inputs": [{key: v for key, v in {**IMAGE, **change}.items() if v is not None}]}


def quantization(**change: Any) -> dict[str, Any]:
    return {"quantization": {**QUANTIZATION, **change}}


def float_model(**change: Any) -> dict[str, Any]:
    return {"quantization": None, **change}


BROKEN: list[tuple[int, dict[str, Any], str]] = [
    (1, {"input_format": "rgb ${ENV:HOME}"}, "${ENV:…} would be replaced"),
    (1, {"custom": {"note": ["${FILE:x}"]}}, "${FILE:…} would be replaced"),
    (2, image(means=[127.5]), "inputs.0.means: 1 numbers for 3 channels"),
    (2, image(means=[]), "inputs.0.means: an empty list"),
    (3, image(scale=0.0), "inputs.0.scale: 0 cannot divide"),
    (4, image(shape=None), "inputs.0.name: with a name the shape"),
    (4, image(name=None), "inputs.0.shape: with a shape the name"),
    (4, image(shape=[3]), "inputs.0.shape: the batch has to be in it"),
    (4, {"outputs": [{"name": "a"}, {"name": "a"}]}, "outputs: 'a' is there twice"),
    (4, {"outputs": [{"name": "a"}, {}]}, "outputs: name all of them or none"),
    (5, {"data_layout": "nhwc"}, "data_layout: nhwc is illegal for ONNX"),
    (6, quantization(dataset=None), "quantization.dataset: without a dataset"),
    (6, quantization(dataset=[]), "quantization.dataset: without a dataset"),
    (6, quantization(dataset=["random"]), "quantization.dataset.0: `random` quantizes to ranges"),
    (7, {"inputs": None}, "1 datasets for 0 inputs"),
    (7, quantization(dataset=["a/*.png", "b/*.png"]), "2 datasets for 1 inputs"),
    (8, quantization(scheme=None), "quantization.scheme: write it; with uint8: asymmetric_affine"),
    (8, quantization(scheme="default", data_type="int8"), "write it; with int8: asymmetric"),
    (8, quantization(scheme="dynamic_fixed_point"), "dynamic_fixed_point is not for uint8"),
    (8, quantization(scheme="perchannel_symmetric_affine"), "is not for uint8"),
    (8, quantization(data_type="int16"), "asymmetric_affine is not for int16"),
    (8, quantization(data_type={"*": "int16", "a": "float16"}), "is not for int16"),
    (9, quantization(data_type="float16"), "quantization.data_type: float16 for the whole model"),
    (
        10,
        quantization(data_type={"*": "uint8", "a": "uint8", "b": "int16"}),
        "data_type.a: repeats",
    ),
    (10, quantization(data_type={"a": "uint8", "b": "int16"}), "data_type.a: repeats the base"),
    (10, quantization(data_type={"*": "uint8", "a": "int8"}), "uint8 and int8 cannot be mixed"),
    (10, quantization(data_type={"*": "uint8"}), "no layer differs from uint8"),
    (10, quantization(data_type={"*": "float16", "a": "int16"}), "has to be an integer"),
    (11, quantization(data_type={"conv/1": "int16"}), "data_type.conv/1: not a layer"),
    (11, quantization(data_type={"conv 1...": "int16"}), "not a layer"),
    (12, {"delegate": "cpu"}, "quantization: quantization and the delegate cpu exclude"),
    (12, {"delegate": {"*": "npu", "a": "gpu"}}, "quantization and the delegate gpu exclude"),
    (13, {"delegate": "dsp"}, "delegate: unknown 'dsp'; one of npu, gpu, cpu, default"),
    (13, {"delegate": {"INPUTS": "npu"}}, "delegate.INPUTS: INPUTS cannot be given"),
    (14, float_model(delegate="cpu", **image(preprocess={"type": "nv12"})), "can preprocess"),
    (14, float_model(delegate="cpu", outputs=[{"dequantize": True}]), "outputs.0.dequantize: only"),
    (14, float_model(delegate="gpu", dequantize_outputs=True), "dequantize_outputs: only the NPU"),
    (14, float_model(delegate="cpu", security={"file": "keys.yaml"}), "security: only a model"),
    (
        14,
        float_model(delegate="cpu", data_layout="nhwc"),
        "data_layout: nhwc only works on the NPU",
    ),
    (15, quantization(dataset=["my images/*.png"]), "a path without spaces"),
    (15, quantization(dataset=[""]), "a path without spaces"),
    (15, quantization(dataset=["/data/*.png"]), "leads out of the metafile's folder"),
    (15, quantization(dataset=["../*.png"]), "leads out of the metafile's folder"),
    (16, {"security": {}}, "security: give `file`, or all of encryption_key"),
    (16, {"security": {"encryption_key": "k"}}, "security: give `file`, or all of"),
    (16, {"security": {"file": "f", "encryption_key": "k"}}, "`file` stands instead of"),
    (17, image(preprocess={"type": "float32", "size": [8, 8]}), "float32 knows no size"),
]


@pytest.mark.parametrize(("rule", "change", "said"), BROKEN)
def test_a_broken_rule_is_said(rule: int, change: dict[str, Any], said: str) -> None:
    broken = broken_rules(metafile(**change), "onnx")
    found = [str(b) for b in broken if b.rule == rule]
    assert any(said in text for text in found), broken
    with pytest.raises(StageError) as caught:
        dump_metafile(metafile(**change), "onnx")
    assert said in caught.value.what


def test_every_rule_is_broken_above() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(range(1, 18))
    assert len(RULES) == len(set(RULES))


LEGAL: list[tuple[ModelFormat, dict[str, Any]]] = [
    ("onnx", {}),
    ("onnx", {"inputs": [{}]}),
    ("onnx", float_model()),
    ("onnx", float_model(delegate="cpu")),
    ("onnx", float_model(inputs=None, outputs=None, delegate=None)),
    ("tflite", float_model(data_layout="nhwc", **image(shape=[1, 8, 8, 3]))),
    ("tflite", image(shape=[1, 8, 8, 3])),
    ("onnx", quantization(data_type="int8", scheme="perchannel_symmetric_affine")),
    ("onnx", quantization(data_type="int8", scheme="asymmetric_affine")),
    ("onnx", quantization(data_type="int16", scheme="dynamic_fixed_point")),
    ("onnx", quantization(data_type=None)),
    ("onnx", quantization(data_type={"*": "uint8", "conv2...": "int16", "conv5": "float16"})),
    ("onnx", quantization(data_type={"conv2...": "int16", "@Conv_1_2": "float16"})),
    # The manual's own example: with another type for all the rest, a layer may have the base type.
    (
        "onnx",
        quantization(data_type={"INPUTS": "int8", "*": "int16"}, scheme="asymmetric_affine"),
    ),
    ("onnx", {"security": {"file": "../keys.yaml"}}),
    ("onnx", {"security": {"secure": False}}),
    ("onnx", image(preprocess={"type": "nv21", "size": [1080, 1920], "crop": True})),
    ("onnx", {"outputs": [{"format": "boxes anchors=${ANCHORS}"}]}),
]


@pytest.mark.parametrize(("model_format", "change"), LEGAL)
def test_what_is_legal(model_format: ModelFormat, change: dict[str, Any]) -> None:
    assert broken_rules(metafile(**change), model_format) == []
    assert dump_metafile(metafile(**change), model_format)


def test_all_broken_rules_are_said_at_once() -> None:
    with pytest.raises(StageError) as caught:
        dump_metafile(metafile(**image(scale=0, means=[1])), "onnx")
    assert "inputs.0.scale" in caught.value.what
    assert "inputs.0.means" in caught.value.what


def test_without_the_model_its_layout_is_not_guessed() -> None:
    assert broken_rules(metafile(data_layout="nhwc", **image(means=[1.0, 2.0]))) == []
