"""External data is read only from plain files in the model's own folder, and only what is there."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import StageError
from pipeline.graph import foreign_file
from pipeline.graph.foreign_file import external_files, load_foreign

WEIGHT = np.arange(20, dtype=np.float32).reshape(4, 5)


def write(path: Path, **entries: Any) -> Path:
    """A model whose weight is external, as `entries` describe it."""
    weight = numpy_helper.from_array(WEIGHT, "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def weight_of(path: Path) -> Any:
    value = load_foreign(path).graph.initializers["w"].const_value
    assert value is not None
    return value.numpy()


def refused(path: Path) -> str:
    with pytest.raises(StageError) as caught:
        load_foreign(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_data_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.bin").write_bytes(b"12345678" + WEIGHT.tobytes() + b"rest")
    whole = write(tmp_path / "a.onnx", location="deep/w.bin", offset=8, length=80)
    assert np.array_equal(weight_of(whole), WEIGHT)
    short = write(tmp_path / "b.onnx", location="deep/w.bin", offset=8)
    assert np.array_equal(weight_of(short), WEIGHT)
    assert external_files(whole) == {"deep/w.bin": tmp_path / "deep" / "w.bin"}


def test_what_onnx_itself_writes(tmp_path: Path) -> None:
    model = onnx.load(write(tmp_path / "a.onnx", location="w.bin"), load_external_data=False)
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(WEIGHT, "w"))
    onnx.save(
        model, tmp_path / "saved.onnx", save_as_external_data=True, location="d", size_threshold=0
    )
    assert np.array_equal(weight_of(tmp_path / "saved.onnx"), WEIGHT)
    onnx.save(onnx.load(tmp_path / "saved.onnx"), tmp_path / "one.onnx")
    assert external_files(tmp_path / "one.onnx") == {}
    assert np.array_equal(weight_of(tmp_path / "one.onnx"), WEIGHT)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "..\\secret.bin", "C:\\x", "", "\0"],
)
def test_a_path_that_leads_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "in" / "a").mkdir(parents=True)
    assert "it is not followed" in refused(write(tmp_path / "in" / "m.onnx", location=name))


def test_links(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "in" / "m.onnx", location="w.bin")
    (tmp_path / "in" / "w.bin").symlink_to(tmp_path / "secret.bin")
    assert "a link that leads out of its folder" in refused(path)
    path = write(tmp_path / "in" / "n.onnx", location="up/secret.bin")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    assert "a link that leads out of its folder" in refused(path)
    (tmp_path / "in" / "real.bin").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "in" / "o.onnx", location="inner")
    (tmp_path / "in" / "inner").symlink_to(tmp_path / "in" / "real.bin")
    assert np.array_equal(weight_of(path), WEIGHT)


def test_what_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", location="w.bin")
    assert "keeps its weights in 'w.bin', and there is no such file" in refused(path)
    (tmp_path / "w.bin").mkdir()
    assert "there is no such file" in refused(path)
    assert "there is no such file" in refused(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 4}, {"offset": -4}, {"length": 76}, {"length": 84}, {"offset": "much"},
        {"offset": 1 << 70}, {"length": -1},
    ],
)  # fmt: skip
def test_bytes_that_are_not_there(tmp_path: Path, entries: dict[str, Any]) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    assert "the external data of 'w' is " in refused(
        write(tmp_path / "m.onnx", location="w.bin", **entries)
    )


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.onnx", location="w.bin")
    with (tmp_path / "w.bin").open("wb") as stream:
        stream.truncate(foreign_file.LARGEST + 1)  # a hole, which takes no room
    assert "its external data is larger than 4 GiB" in refused(path)
    monkeypatch.setattr(foreign_file, "LARGEST", 100)
    assert "is larger than" in refused(path)


def test_one_file_that_many_tensors_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "m.onnx", location="w.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.extend([model.graph.initializer[0]] * 9)
    for number, tensor in enumerate(model.graph.initializer):
        tensor.name = f"w{number}" if number else "w"
    path.write_bytes(model.SerializeToString())
    assert len(load_foreign(path).graph.initializers) == 10
    monkeypatch.setattr(foreign_file, "LARGEST", 10 * WEIGHT.nbytes - 1)
    assert "names more than" in refused(path)


def test_a_path_in_a_function_or_a_branch(tmp_path: Path) -> None:
    def moved(hide: Any) -> Path:
        path = write(tmp_path / "in" / "m.onnx", location="../secret.bin")
        model = onnx.load(path, load_external_data=False)
        constant = helper.make_node("Constant", [], ["w"])
        value = constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
        value.t.CopyFrom(model.graph.initializer.pop())
        hide(model, constant)
        path.write_bytes(model.SerializeToString())
        return path

    def in_function(model: onnx.ModelProto, constant: onnx.NodeProto) -> None:
        opset = helper.make_opsetid("", 13)
        model.functions.append(helper.make_function("own", "F", [], ["w"], [constant], [opset]))
        model.graph.node.insert(0, helper.make_node("F", [], ["w"], domain="own"))

    def in_branch(model: onnx.ModelProto, constant: onnx.NodeProto) -> None:
        result = helper.make_tensor_value_info("w", TensorProto.FLOAT, None)
        branch = helper.make_graph([constant], "b", [], [result])
        chosen = helper.make_node("If", ["x"], ["w"], then_branch=branch, else_branch=branch)
        model.graph.node.insert(0, chosen)

    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    assert "it is not followed" in refused(moved(in_function))
    assert "it is not followed" in refused(moved(in_branch))


@pytest.mark.parametrize(
    "change",
    [{"raw_data": b"1234", "dims": [1 << 40, 1 << 20]}, {"raw_data": b"1234", "dims": [99, 99]},
     {"data_type": 0}],
)  # fmt: skip
def test_constants_that_are_not_as_they_say(tmp_path: Path, change: dict[str, Any]) -> None:
    model = onnx.load(write(tmp_path / "m.onnx"), load_external_data=False)
    weight = numpy_helper.from_array(np.tile(WEIGHT, (1, 400)), "w")
    for name, value in change.items():
        if name == "dims":
            weight.dims[:] = value
        else:
            setattr(weight, name, value)
    model.graph.initializer[0].CopyFrom(weight)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert "is not a readable ONNX file" in refused(tmp_path / "m.onnx")


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"no model at all"])
def test_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "is not a readable ONNX file" in refused(path)


def test_inputs_that_nothing_reads(tmp_path: Path) -> None:
    """tf2onnx leaves the constants of Keras' Normalization as such."""
    sides = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("x", "mean", "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", sides[:2], sides[2:])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert [value.name for value in load_foreign(tmp_path / "m.onnx").graph.inputs] == ["x"]


def test_a_graph_that_is_not_whole(tmp_path: Path) -> None:
    def saved(*nodes: tuple[str, list[str], str]) -> Path:
        graph = helper.make_graph(
            [helper.make_node(op, reads, [gives]) for op, reads, gives in nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
        path = tmp_path / "m.onnx"
        path.write_bytes(helper.make_model(graph).SerializeToString())
        return path

    assert "Add 'y' reads 'nope', which nothing gives" in refused(
        saved(("Add", ["x", "nope"], "y"))
    )
    assert "nothing gives its output 'y'" in refused(saved(("Relu", ["x"], "z")))
    circle = saved(("Add", ["x", "b"], "a"), ("Relu", ["a"], "b"), ("Relu", ["b"], "y"))
    assert "its nodes run in a circle" in refused(circle)
    twice = saved(("Relu", ["x"], "y"), ("Abs", ["x"], "y"))
    assert "is not a readable ONNX file" in refused(twice)
    late = load_foreign(saved(("Relu", ["a"], "y"), ("Abs", ["x"], "a")))
    assert [node.op_type for node in late.graph] == ["Abs", "Relu"]
