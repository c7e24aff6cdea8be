"""Metafiles: what they ask for, and every rule that they break."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.inspect.metafile_file import MAX_BYTES, MODEL_RULES, describe_metafile

Put = Callable[..., Path]


def test_a_good_one(files: Any) -> None:
    contents = describe_metafile(files.meta_yaml)
    assert (contents.format, contents.violations) == ("metafile", ())
    [image] = contents.inputs
    assert (image.name, image.shape, image.meaning) == ("input", (1, 3, 8, 8), "rgb")
    assert (image.means, image.deviations) == ((127.5,) * 3, (127.5,))
    facts = contents.quantization
    assert facts is not None
    assert (facts.kind, facts.form) == ("quantized", "by the toolkit")
    assert (facts.data_type, facts.scheme) == ("uint8", "asymmetric_affine")
    assert contents.delegates == ("npu",)
    assert contents.facts["dataset"] == "calibration/*.png"
    assert contents.warnings == (MODEL_RULES,)


def test_all_it_can_say(put: Put) -> None:
    text = """\
delegate: {"*": npu, Conv_1: cpu}
optimize: true
data_layout: nchw
inputs:
- preprocess: {type: nv21, size: [1080, 1920], crop: true}
outputs: [{dequantize: true, format: "yolov5 landmarks=5"}]
security: {file: keys.yaml}
quantization:
  data_type: {"*": uint8, last: int16}
  scheme: asymmetric_affine
  mode: full
  algorithm: kl_divergence
  dataset: [a/*.png]
"""
    contents = describe_metafile(put(text, "m.yaml"))
    assert contents.facts["preprocess_0"] == "nv21 1080x1920 on the NPU"
    assert (contents.facts["mode"], contents.facts["algorithm"]) == ("full", "kl_divergence")
    assert (contents.facts["optimize"], contents.facts["secure"]) == (True, True)
    assert contents.quantization is not None
    assert contents.quantization.data_type == "int16+uint8"
    assert contents.delegates == ("npu", "cpu")
    assert contents.inputs[0].layout == "nchw"
    assert contents.outputs[0].meaning == "yolov5 landmarks=5"
    assert any("exclude each other" in line for line in contents.violations)


def test_each_broken_rule_once_with_its_line(put: Put) -> None:
    path = put("inputs:\n- scale: 0\n  means: []\nquantization:\n  scheme: default\n", "m.yaml")
    contents = describe_metafile(path)
    assert len(contents.violations) == 4
    assert (
        contents.violations[0]
        == f"{path}:3: inputs.0.means: an empty list; give one number per channel"
    )
    assert contents.violations[1].startswith(f"{path}:2: inputs.0.scale: 0 cannot divide")
    assert "without a dataset the toolkit does not quantize" in contents.violations[2]
    assert contents.quantization is not None
    assert contents.quantization.kind == "float", "that is what the toolkit makes of it"


def test_what_hides_other_rules_is_said_beside_them(put: Put) -> None:
    path = put("optimize: yes\ninputs:\n- scale: 0\n", "m.yaml")
    first, second = describe_metafile(path).violations
    assert first.startswith(f"{path}:1: yes is read differently by YAML 1.1 and 1.2; quote it")
    assert second == "inputs.0.scale: 0 cannot divide; give one number that is not 0"
    [line] = describe_metafile(put("input_format: ${ENV:X}\n", "m.yaml")).violations
    assert "would be replaced by the toolkit" in line


def test_no_quantization_is_said(put: Put) -> None:
    words = describe_metafile(put("delegate: npu\n", "m.yaml")).warnings
    assert any(word.startswith("no quantization") for word in words)
    words = describe_metafile(put("delegate: cpu\n", "m.yaml")).warnings
    assert not any(word.startswith("no quantization") for word in words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "m.yaml:1: not YAML"),
        ("delegates: npu", "m.yaml:1: delegates: unknown field; did you mean 'delegate'"),
        ("inputs:\n- means: 127.5", "m.yaml:2: inputs.0.means: should be a valid list"),
        ("- 1", "metafile: should be"),
        ("custom: " + "[" * 3_000, "nested too deeply|not YAML"),
        ("custom: &a [1]\ninputs: *a", "an alias; write the value out"),
        ("x" * (MAX_BYTES + 1), "bytes are no metafile"),
        (b"\xff\xfe", "cannot be read"),
        ("schema: 1\nmodel: {source: timm}", "a recipe, or another YAML file"),
        ('"\\x1b[31m": 1', "unknown field"),
    ],
)
def test_what_is_none(put: Put, text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        describe_metafile(put(text, "m.yaml"))


def test_an_alias_of_aliases_does_not_grow(put: Put) -> None:
    lines = ["custom:", "  a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for above, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"  {name}: &{name} [{', '.join([f'*{above}'] * 9)}]")
    with pytest.raises(UsageError, match="an alias"):
        describe_metafile(put("\n".join(lines), "m.yaml"))


def test_too_many_inputs(put: Put) -> None:
    with pytest.raises(UsageError, match="more than 1000 inputs"):
        describe_metafile(put(f"inputs: [{', '.join(['{}'] * 1_001)}]", "m.yaml"))


def test_texts_do_nothing_to_a_terminal(put: Put) -> None:
    contents = describe_metafile(put('inputs: [{format: "\\e[2J"}]\ndelegate: "\\a"', "m.yaml"))
    assert contents.inputs[0].meaning == "\\x1b[2J"
    assert contents.violations[0].isprintable()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        describe_metafile(tmp_path / "none.yaml")
