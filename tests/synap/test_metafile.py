"""The text of a metafile."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.synap.metafile import (
    Input,
    Metafile,
    Output,
    Quantization,
    classifier_metafile,
    metafile_text,
)
from pipeline.synap.metafile_read import parse_metafile


def test_the_metafile_of_a_classifier() -> None:
    text = metafile_text(
        classifier_metafile(
            means=[127.5, 127.5, 127.5],
            scale=127.5,
            input_name="input",
            input_shape=[1, 3, 299, 299],
            output_name="logits",
            quantization=Quantization(
                data_type="int8", scheme="perchannel_symmetric_affine", dataset=("images/*.png",)
            ),
        )
    )
    assert text == (
        "delegate: npu\n"
        "inputs:\n"
        "- name: input\n"
        "  shape: [1, 3, 299, 299]\n"
        "  means: [127.5, 127.5, 127.5]\n"
        "  scale: 127.5\n"
        "  format: rgb\n"
        "outputs:\n"
        "- name: logits\n"
        "  format: confidence_array\n"
        "quantization:\n"
        '  data_type: "int8"\n'
        "  scheme: perchannel_symmetric_affine\n"
        '  dataset: ["images/*.png"]\n'
    )


def test_nothing_to_say_of_an_input_is_an_empty_mapping() -> None:
    assert yaml.safe_load(metafile_text(Metafile(inputs=(Input(),)))) == {"inputs": [{}]}


@pytest.mark.parametrize(
    "name", ["1e3", "yes", "null", "0o7", "12", "~", "a: b", "#", "é", "-", "*"]
)
def test_a_text_stays_a_text(name: str) -> None:
    metafile = Metafile(outputs=(Output(name=name),))
    text = metafile_text(metafile)
    assert f"name: {name}\n" not in text, "bare, the toolkit's YAML 1.2 could read it otherwise"
    assert parse_metafile(text) == metafile


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("means", 127.5),
        ("means", ["a"]),
        ("scale", [127.5] * 3),
        ("scale", float("inf")),
        ("shape", [1, 3, 0]),
        ("security", "secret"),
        ("preprocess", {"type": "webp"}),
        ("preprocess", {"size": [1, 2]}),
        ("stds", [1, 1, 1]),
    ],
)
def test_the_field_set_is_closed(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Input.model_validate({field: value})


def test_delegates_by_pattern() -> None:
    assert Metafile().delegates == {"*": "default"}
    assert Metafile(delegate="cpu num_threads=2").delegates == {"*": "cpu"}
    assert Metafile(delegate={"*": "npu", "conv5": "gpu x=1"}).delegates == {
        "*": "npu",
        "conv5": "gpu",
    }


texts = st.text(min_size=1, max_size=12).filter(lambda text: "${" not in text)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def metafiles(draw: st.DrawFn) -> Metafile:
    channels = draw(st.integers(1, 4))
    return Metafile(
        optimize=draw(st.none() | st.booleans()),
        input_format=draw(st.none() | texts),
        inputs=(
            Input(
                name=draw(texts),
                shape=(1, channels, draw(st.integers(1, 999)), draw(st.integers(1, 999))),
                means=tuple(draw(numbers) for _ in range(channels)),
                scale=draw(numbers.filter(bool)),
                format=draw(st.none() | texts),
            ),
        ),
        outputs=(Output(name=draw(texts), dequantize=draw(st.none() | st.booleans())),),
        quantization=draw(
            st.none()
            | st.just(
                Quantization(
                    data_type={"*": "uint8", "conv1": "int16", "conv2...": "float16"},
                    scheme="asymmetric_affine",
                    options={"a": [1, 2.5, None, {"b": "c"}]},
                    dataset=("a/*.png",),
                )
            )
        ),
        custom=draw(st.none() | st.dictionaries(texts, st.lists(texts | numbers), max_size=2)),
    )


@given(metafiles())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(metafile: Metafile) -> None:
    assert parse_metafile(metafile_text(metafile), model_format="onnx") == metafile
