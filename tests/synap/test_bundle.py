"""The types of a bundle: delegates, enumerations, and what is kept of unknown fields."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.synap.bundle import Bundle, Meta, Source, Subgraph, Tensor, delegate_kind

NPU_META = {
    "Inputs": {
        "in_0": {
            "name": "input",
            "shape": [1, 299, 299, 3],
            "format": "nhwc",
            "quantizer": "asymmetric_affine",
            "quantize": {
                "qtype": "u8",
                "scale": 0.0078,
                "zero_point": 128,
                "max_value": 1.0,
                "min_value": -1.0,
            },
        }
    },
    "Outputs": {"out_0": {"shape": 10, "dtype": "float16"}},
    "Recurrent_connections": {},
}


@pytest.mark.parametrize(
    ("delegate", "kind"),
    [
        ("npu", "npu"),
        ("onnx cpu=1 ", "cpu"),
        ("onnx", "cpu"),
        ("onnx cpu=1 num_threads=2", "cpu"),
        ("onnx gpu=1 ", "gpu"),
        ("tflite gpu=0 ", "tflite"),
        ("tflite gpu=1 ", "tflite"),
        ("torq", None),
        ("bundle dir=/etc", None),
        ("", None),
        ("NPU", None),
    ],
)
def test_delegate_kind(delegate: str, kind: str | None) -> None:
    assert delegate_kind(delegate) == kind


def test_an_npu_meta_as_the_compiler_writes_it() -> None:
    meta = Meta.model_validate_json(json.dumps(NPU_META), strict=True)
    assert meta.delegate == "npu", "what the runtime assumes where none is given"
    assert meta.outputs["out_0"].shape == (10,), "a bare number is a shape of one dimension"
    assert meta.inputs["in_0"].quantize is not None
    kept = json.loads(meta.to_json())
    assert kept["Inputs"] == NPU_META["Inputs"], "fields the runtime ignores are kept"
    assert kept["Recurrent_connections"] == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "nwhc"),
        ("dtype", "float64"),
        ("security", "secret"),
        ("quantizer", "perchannel_symmetric_affine"),
        ("quantize", {"qtype": "u7"}),
        ("mean", 127.5),
        ("shape", [1, -1]),
        ("shape", "1x3"),
        ("scale", "127.5"),
        ("scale", True),
    ],
)
def test_what_the_runtime_would_misread_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Tensor.model_validate_json(json.dumps({"shape": [1], field: value}), strict=True)


@pytest.mark.parametrize("missing", ["Inputs", "Outputs"])
def test_a_meta_needs_tensors(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        Meta.model_validate({**NPU_META, missing: {}})


def test_the_tensors_of_a_bundle_are_those_at_its_ends() -> None:
    def meta(name: str) -> Meta:
        return Meta(
            inputs={"a": Tensor(shape=(1,), name=f"{name}-in")},
            outputs={"b": Tensor(shape=(1,), name=f"{name}-out")},
        )

    bundle = Bundle(
        (
            Subgraph(b"1", meta("first")),
            Subgraph(b"2", meta("second"), (Source(subgraph=0, out=0),)),
        ),
        (Source(subgraph=1, out=0),),
    )
    assert [tensor.name for tensor in bundle.inputs] == ["first-in"]
    assert [tensor.name for tensor in bundle.outputs] == ["second-out"]
    assert bundle.is_npu_build
    assert bundle.delegates == ("npu", "npu")


names = st.text(min_size=1, max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    return Tensor(
        shape=tuple(draw(st.lists(st.integers(1, 2**31 - 1), max_size=5))),
        format=draw(st.sampled_from(["none", "nhwc", "nchw"])),
        dtype=draw(st.sampled_from(["byte", "int8", "uint8", "int16", "float16", "float32"])),
        name=draw(names),
        data_format=draw(st.none() | names),
        mean=draw(st.none() | st.lists(numbers, max_size=4).map(tuple)),
        scale=draw(st.none() | numbers),
    )


@st.composite
def metas(draw: st.DrawFn) -> Meta:
    groups = st.dictionaries(names, tensors(), min_size=1, max_size=3)
    delegates = st.sampled_from(["npu", "onnx cpu=1 ", "tflite gpu=0 "])
    return Meta(
        inputs=draw(groups),
        outputs=draw(groups),
        secure=draw(st.booleans()),
        delegate=draw(delegates),
    )


@given(metas())
@settings(max_examples=50, deadline=None)
def test_json_keeps_every_value(meta: Meta) -> None:
    assert Meta.model_validate_json(meta.to_json(), strict=True) == meta
