"""Graph files: what is written is read back, and what is none is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError
from pipeline.graph.file import (
    class_count,
    input_size,
    load_graph,
    preprocess_in,
    save_graph,
    set_preprocess,
)

VIEW = Preprocess(size=7, interpolation="nearest", crop=0.9, mean=(0.1, 0.2, 0.3))


def classifier(input_shape: Any = ("n", 3, 7, 9), output_shape: Any = ("n", 5)) -> ir.Model:
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.ones((3, 5), np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 13)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "m.onnx"
    model = classifier()
    set_preprocess(model, VIEW)
    save_graph(model, path)
    first = path.read_bytes()
    again = load_graph(path)
    assert preprocess_in(again, "m.onnx") == VIEW
    assert (input_size(again, ""), class_count(again, "")) == ((7, 9), 5)
    save_graph(again, path)
    assert path.read_bytes() == first, "the same graph is the same file"
    assert [p.name for p in path.parent.iterdir()] == ["m.onnx"]


def test_what_the_checker_refuses_is_not_written(tmp_path: Path) -> None:
    model = classifier()
    model.graph[0].op_type = "NoSuchOperator"
    with pytest.raises(onnx.checker.ValidationError, match="NoSuchOperator"):
        save_graph(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="there is no such file"):
        load_graph(tmp_path / "m.onnx")


def damaged(whole: bytes) -> dict[str, bytes]:
    return {
        "text": b"this is no model\n",
        "cut": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "zip": b"PK\x03\x04" + whole,
    }


@pytest.mark.parametrize("how", ["text", "cut", "zeros", "zip"])
def test_what_is_no_onnx_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "m.onnx"
    save_graph(classifier(), path)
    path.write_bytes(damaged(path.read_bytes())[how])
    with pytest.raises(StageError, match="is not a readable ONNX file") as caught:
        load_graph(path)
    assert caught.value.where == str(path)


def test_a_folder_is_no_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is not a readable ONNX file"):
        load_graph(tmp_path)


def test_other_files_are_not_read_along(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x01\x02\x03\x04" * 15)
    proto = ir.to_proto(classifier())
    weights = proto.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="secret")
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(StageError, match="external"):
        load_graph(path)


@pytest.mark.parametrize("shape", [("n", 3), ("n", 3, 7), ("n", 3, 7, 7, 7)])
def test_an_input_that_is_no_image(shape: Any) -> None:
    with pytest.raises(StageError, match="the input is not an image"):
        input_size(classifier(shape), "m.onnx")


def test_an_input_of_no_fixed_size() -> None:
    with pytest.raises(StageError, match="the input has no fixed size"):
        input_size(classifier(("n", 3, "h", "w")), "m.onnx")


@pytest.mark.parametrize("shape", [(5,), ("n", "classes")])
def test_an_output_that_is_no_row_of_logits(shape: Any) -> None:
    with pytest.raises(StageError, match="the output is not a row of logits"):
        class_count(classifier(output_shape=shape), "m.onnx")


def test_no_preprocessing() -> None:
    with pytest.raises(StageError, match=r"m\.onnx: carries no preprocessing"):
        preprocess_in(classifier(), "m.onnx")


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"size": 0}', '{"size": 7, "other": 1}'])
def test_a_damaged_preprocessing(text: str) -> None:
    model = classifier()
    model.metadata_props[METADATA_KEY] = text
    with pytest.raises(StageError, match=r"m\.onnx: its preprocessing is damaged"):
        preprocess_in(model, "m.onnx")
