"""Metafiles that people write, with their errors' lines."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.synap.metafile_read import MAX_CHARACTERS, load_metafile, parse_metafile

# The example of the toolkit's manual, with the scheme written out and the dataset in the folder.
MANUAL = """\
delegate: npu

data_layout: nhwc

security:
    secure: true
    file: ../security.yaml

inputs:
  - name: input
    shape: [1, 224, 224, 3]
    means: [128, 128, 128]
    scale: 128
    format: rgb
    security: any
    preprocess:
        type: nv21
        size: [1920, 1080]
        crop: true

outputs:
  - name: MobilenetV1/Predictions/Reshape_1
    dequantize: false
    format: confidence_array

quantization:
    data_type: uint8
    scheme: asymmetric_affine
    mode: standard
    algorithm: standard
    options:
    dataset:
      - sample/*_224x224.jpg
"""


def test_the_manuals_example() -> None:
    read = parse_metafile(MANUAL, model_format="tflite")
    assert read.inputs is not None
    assert read.inputs[0].shape == (1, 224, 224, 3)
    assert read.inputs[0].means == (128.0, 128.0, 128.0)
    assert read.quantization is not None
    assert read.quantization.dataset == ("sample/*_224x224.jpg",)


def test_an_empty_one() -> None:
    assert parse_metafile("").inputs is None
    assert parse_metafile("# nothing\n").inputs is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "m.yaml:1: not YAML"),
        ("inputs: [", "m.yaml:1: not YAML|m.yaml:2: not YAML"),
        ("optimize: \x00", "not YAML"),
        ("- 1", "metafile: should be"),
        (
            "delegate: npu\noptimise: true",
            "m.yaml:2: optimise: unknown field; did you mean 'optimize'",
        ),
        ("inputs:\n  - mean: [1]", "m.yaml:2: inputs.0.mean: unknown field; did you mean 'means'"),
        ("inputs:\n  - xyz: 1", "m.yaml:2: inputs.0.xyz: unknown field; known here: name, shape"),
        ("quantization:\n  datatype: uint8", "m.yaml:2: .*did you mean 'data_type'"),
        ("security:\n  files: x", "m.yaml:2: security.files: unknown field; did you mean 'file'"),
        (
            "inputs:\n  - preprocess:\n      kind: rgb",
            "m.yaml:3: inputs.0.preprocess.kind: unknown",
        ),
        ("inputs:\n  - preprocess: {}", "m.yaml:2: inputs.0.preprocess.type: is missing"),
        ("inputs:\n  - means: 127.5", "m.yaml:2: inputs.0.means: should be a valid list"),
        ("inputs:\n  - scale: [1, 2, 3]", "m.yaml:2: inputs.0.scale: should be a valid number"),
        ("inputs:\n  - scale: '127.5'", "m.yaml:2: inputs.0.scale: should be a valid number"),
        ("inputs:\n  - scale: true", "m.yaml:2: inputs.0.scale: should be a valid number"),
        ("quantization:\n  data_type: int4", "m.yaml:2: quantization.data_type: .*'int4'"),
        ("quantization:\n  scheme: bogus", "m.yaml:2: quantization.scheme: .*'bogus'"),
        ("optimize: true\noptimize: false", "m.yaml:2: optimize is given twice"),
        ("custom: &a [1]\ninputs: *a", "m.yaml:1: an alias; write the value out"),
        ("? [a, b]\n: 1", "m.yaml:1: a field has to be a word"),
        ("<<: {optimize: true}", "m.yaml:1: a field has to be a word"),
        ("optimize: yes", "m.yaml:1: yes is read differently by YAML 1.1 and 1.2"),
        ("custom: 010", "m.yaml:1: 010 is read differently"),
        ("custom: 1:30", "m.yaml:1: 1:30 is read differently"),
        ("custom: 1_000", "m.yaml:1: 1_000 is read differently"),
        ("custom: 2001-01-01", "m.yaml:1: 2001-01-01 is read differently"),
        ("custom: !!binary aGk=", "m.yaml:1: aGk= is read differently"),
        ("outputs:\n- name: 1e3", "m.yaml:2: 1e3 is a number to the toolkit; quote it"),
        ("custom: !!python/object:os.system {}", "m.yaml:1: the tag .*os.system is none"),
        ("# ${ENV:HOME}", "m.yaml:1: .*would be replaced"),
        ("optimize: true\ninput_format: ${FILE:/etc/passwd}", "m.yaml:2: .*would be replaced"),
        ("optimize: true\n\ninputs:\n- scale: 0", "m.yaml:4: inputs.0.scale: 0 cannot divide"),
        ("inputs: [{}]\nquantization:\n  scheme: default", "m.yaml:3: quantization.scheme: write"),
        (
            "inputs: [{}]\nquantization:\n  scheme: default",
            "m.yaml:2: quantization.dataset: without",
        ),
        ("data_layout: nhwc", "m.yaml:1: data_layout: nhwc is illegal"),
        ("inputs:\n- scale: " + "1" * 5000, "m.yaml:2: a number of 5000 digits"),
        ("inputs:\n- scale: -" + "1" * 400, "m.yaml:2: inputs.0.scale: should be a"),
        ("inputs:\n- scale: " + "1" * 400 + ".0", "m.yaml:2: inputs.0.scale: should be a"),
        ('custom: "\\UFFFFFFFF"', "m.yaml: not YAML"),
        ('custom: "\\U00110000"', "m.yaml: not YAML"),
        ("%YAML 1." + "1" * 5000 + "\n---\noptimize: true", "m.yaml: not YAML"),
        ("custom: " + "[" * 2_000, "nested too deeply|not YAML"),
        (" " * (MAX_CHARACTERS + 1), "too many for a metafile"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_metafile(text, "m.yaml", "onnx")


def test_an_alias_of_aliases_does_not_grow() -> None:
    lines = ["custom:", "  a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for above, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"  {name}: &{name} [{', '.join([f'*{above}'] * 9)}]")
    with pytest.raises(UsageError, match="an alias"):
        parse_metafile("\n".join(lines))


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_metafile("optimise: 1\ninputs:\n  - scale: x\n", "m.yaml")
    assert "m.yaml:1" in caught.value.what
    assert "m.yaml:3" in caught.value.what


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("delegate: cpu\n")
    assert load_metafile(path).delegate == "cpu"
    with pytest.raises(UsageError, match="there is no such metafile"):
        load_metafile(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_metafile(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        load_metafile(path)


@given(st.text(alphabet="abc:-[]{}#&*!|>'\"\n 01.,yesno_${}", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_explained(text: str) -> None:
    said = ""
    try:
        parse_metafile(text, "m.yaml")
    except UsageError as error:
        said = str(error)
    assert not said or "m.yaml" in said
