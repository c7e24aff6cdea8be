"""`evaluate` on files whose weights are in another file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import METADATA_KEY
from pipeline.evaluate_file import evaluate

DATA = "weights.bin"


def answering(folder: Path, label: int) -> Path:
    """A model that calls every picture `label`; only its external data says which."""
    matrix = np.zeros((3, 10), np.float32)
    matrix[:, label] = 1.0
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 10))],
        [numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    view = '{"size": 8, "crop": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1]}'
    model.metadata_props.add(key=METADATA_KEY, value=view)
    (folder / DATA).unlink(missing_ok=True)
    path = folder / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location=DATA, size_threshold=0)
    return path


@pytest.fixture
def four(lab: Any, tmp_path: Path) -> Path:
    """Three pictures of the first class and one of the second."""
    folder = tmp_path / "images"
    folder.mkdir()
    for label, number in ((0, 0), (0, 1), (0, 2), (1, 0)):
        lab.picture(label, number).save(folder / f"{lab.SYNSETS[label]}_{number}.JPEG")
    return folder


def test_weights_beside_the_file_are_part_of_it(four: Path, tmp_path: Path) -> None:
    """Trained again and exported again: the graph is the same to the byte, its answers are not."""

    def top1(label: int) -> tuple[bytes, float]:
        path = answering(tmp_path, label)
        return path.read_bytes(), evaluate(path, four, None, 0, tmp_path / "a", 1)["top1"]

    old, new = top1(0), top1(1)
    assert old[0] == new[0]
    assert (old[1], new[1]) == (0.75, 0.25)
