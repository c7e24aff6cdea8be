"""What `pipeline sensitivity` refuses before the long work."""

import sys
from pathlib import Path
from typing import Any

import pytest

RECIPE = """\
schema: 1
model: {source: %s, name: m}
data:
  preprocess: {size: 32}
  calibration: {dataset: imagenet, images: 20}
  evaluation: {dataset: imagenet, images: 20}
"""
INT16 = """\
quantize: {data_type: int16, scheme: dynamic_fixed_point, ranges: {rule: minmax}}
compile: {delegate: npu, handoff: onnx}
"""
INTEGERS = "this model came as integers: there is no float model to compare its layers with"
WIDE = "--max-drop proposes layers as int16, and quantize.data_type is int16"


@pytest.mark.parametrize(
    ("source", "more", "expected"),
    [
        ("quantized-onnx", "", INTEGERS),
        ("quantized-tflite", "", INTEGERS),
        ("onnx", INT16, WIDE),
    ],
)
def test_what_has_no_answer_is_refused(
    lab: Any, tmp_path: Path, source: str, more: str, expected: str
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE % source + more)
    words = ["sensitivity", str(recipe), "--max-drop", "0.01"]
    done = lab.call([sys.executable, "-m", "pipeline", *words])
    assert done.code == 2, done.err
    assert expected in done.err and "Traceback" not in done.err
