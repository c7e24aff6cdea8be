"""The meta of a CPU bundle, held to what the toolkit itself writes."""

import json
from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.synap.cpu_meta import cpu_onnx_meta

GOOD: dict[str, Any] = {
    "input_name": "input",
    "input_shape": [1, 3, 8, 8],
    "means": [127.5, 127.5, 127.5],
    "scale": 127.5,
    "output_name": "logits",
    "output_shape": [1, 4],
}

# Byte for byte what the toolkit 3.2.0 wrote for such a model with `delegate: cpu`, but for the
# lines of the shape and the mean, which are joined here.
BY_THE_TOOLKIT = """{
 "Inputs": {
  "input": {
   "shape": [1, 3, 8, 8],
   "format": "nchw",
   "dtype": "float32",
   "name": "input",
   "data_format": "rgb",
   "security": "any",
   "mean": [127.5, 127.5, 127.5],
   "scale": 127.5
  }
 },
 "Outputs": {
  "logits": {
   "shape": [1, 4],
   "format": "nchw",
   "dtype": "float32",
   "name": "logits",
   "data_format": "confidence_array",
   "security": "secure-if-input-secure"
  }
 },
 "secure": false,
 "delegate": "onnx cpu=1 "
}"""


def test_it_is_what_the_toolkit_writes() -> None:
    written = cpu_onnx_meta(**GOOD).to_json()
    assert written == json.dumps(json.loads(BY_THE_TOOLKIT), indent=1)


def test_options_follow_the_engine() -> None:
    assert cpu_onnx_meta(**GOOD, options="num_threads=4").delegate == "onnx cpu=1 num_threads=4"


def test_the_mean_is_a_list_of_one_number_per_channel() -> None:
    gray = GOOD | {"input_shape": (1, 1, 8, 8), "means": [0], "scale": 1}
    assert cpu_onnx_meta(**gray).inputs["input"].mean == (0.0,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"means": [127.5]}, "1 means for 3 channels"),
        ({"scale": 0.0}, "scale not 0"),
        ({"scale": float("nan")}, "finite"),
        ({"means": [127.5, 127.5, float("inf")]}, "finite"),
        ({"input_shape": [3, 8, 8]}, r"\[1, C, H, W\]"),
        ({"input_shape": [2, 3, 8, 8]}, "batch 1"),
        ({"output_shape": [4, 10]}, "batch 1"),
        ({"output_shape": []}, "batch 1"),
        ({"input_shape": [1, 3, 0, 8]}, "below 1"),
        ({"input_name": ""}, "without a name"),
    ],
)
def test_what_the_runtime_cannot_hold_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(StageError, match=said):
        cpu_onnx_meta(**GOOD | change)
