"""The value and its JSON."""

import json
import math

from pipeline.inspect.inspection import Contents, Inspection, TensorFacts


def test_json_has_everything_and_no_nan() -> None:
    tensor = TensorFacts("x", (1, "n"), "uint8", scale=(math.nan, 0.5), zero_point=(0, 1))
    contents = Contents("onnx", {"opset": 13}, (tensor,), operators={"Conv": 2})
    inspection = Inspection("m.onnx", 12, "a" * 64, contents)
    data = json.loads(json.dumps(inspection.to_json(), allow_nan=False))
    assert (data["schema"], data["format"], data["path"]) == (1, "onnx", "m.onnx")
    assert (data["bytes"], data["sha256"]) == (12, "a" * 64)
    assert (data["facts"], data["operators"]) == ({"opset": 13}, {"Conv": 2})
    assert data["inputs"][0]["shape"] == [1, "n"]
    assert data["inputs"][0]["scale"] == [None, 0.5]
    assert (data["quantization"], data["subgraphs"], data["warnings"]) == (None, [], [])
