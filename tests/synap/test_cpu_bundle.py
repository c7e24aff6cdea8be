"""The CPU bundle: the quantized ONNX as it is, with the meta that the runtime needs."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.file import load_graph, save_graph, set_preprocess
from pipeline.runners import open_runner
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.cpu_bundle import RUNTIME_IR, RUNTIME_OPSET, write_cpu_bundle


def rewritten(source: Path, path: Path, **changes: Any) -> Path:
    """The model with another preprocessing, opset or IR version."""
    model = load_graph(source)
    if "preprocess" in changes:
        set_preprocess(model, changes["preprocess"])
    model.opset_imports[""] = changes.get("opset", 13)
    model.ir_version = changes.get("ir_version", 8)
    save_graph(model, path)
    return path


def test_the_form_of_the_bundle(trio: Any) -> None:
    with zipfile.ZipFile(trio.bundle) as archive:
        assert archive.namelist() == ["bundle.json", "0/subgraph_0.onnx", "0/subgraph_0.json"]
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {item.date_time[0] for item in archive.infolist()} == {1980}
        assert json.loads(archive.read("bundle.json")) == {
            "graph": [
                {
                    "inputs": [{"subgraph": -1, "out": 0}],
                    "model": "0/subgraph_0.onnx",
                    "meta": "0/subgraph_0.json",
                }
            ],
            "outputs": [{"subgraph": 0, "out": 0}],
        }
        meta = json.loads(archive.read("0/subgraph_0.json"))
    assert meta["delegate"] == "onnx cpu=1 "
    assert meta["Inputs"] == {
        "input": {
            "shape": [1, 3, 64, 64], "format": "nchw", "dtype": "float32", "name": "input",
            "data_format": "rgb", "security": "any", "mean": [127.5, 102.0, 114.75], "scale": 63.75,
        }
    }  # fmt: skip
    assert meta["Outputs"] == {
        "logits": {
            "shape": [1, 10], "format": "nchw", "dtype": "float32", "name": "logits",
            "data_format": "confidence_array", "security": "secure-if-input-secure",
        }
    }  # fmt: skip


def test_the_model_inside(trio: Any) -> None:
    model = onnx.load_model_from_string(read_bundle(trio.bundle).subgraphs[0].model)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version <= RUNTIME_OPSET and model.ir_version <= RUNTIME_IR
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_value == 1
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ours = [n.SerializeToString() for n in onnx.load(trio.graph).graph.node]
    assert [n.SerializeToString() for n in model.graph.node] == ours


def test_the_same_model_is_the_same_file(trio: Any, tmp_path: Path) -> None:
    write_cpu_bundle(trio.graph, tmp_path / "again.synap")
    assert (tmp_path / "again.synap").read_bytes() == trio.bundle.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["again.synap"], "no scratch is left"


@pytest.mark.parametrize(
    ("mean", "std", "means", "scale"),
    [
        ((127 / 255,) * 3, (0.5,) * 3, (127.0, 127.0, 127.0), 127.5),
        ((0.0, 0.0, 0.0), (1.0,) * 3, (0.0, 0.0, 0.0), 255.0),
        ((0.485, 0.456, 0.406), (0.226,) * 3, (123.675, 116.28, 103.53), 57.63),
    ],
)
def test_means_and_scale_in_grey_levels(
    trio: Any, tmp_path: Path, mean: Any, std: Any, means: Any, scale: float
) -> None:
    view = Preprocess(size=64, interpolation="bilinear", crop=1.0, mean=mean, std=std)
    model = rewritten(trio.graph, tmp_path / "m.onnx", preprocess=view)
    write_cpu_bundle(model, tmp_path / "m.synap")
    image = read_bundle(tmp_path / "m.synap").subgraphs[0].inputs[0]
    assert (image.mean, image.scale) == (means, scale)
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        open_runner("synap", tmp_path / "m.synap", None, 1)(crops),
        open_runner("onnx", model, None, 1)(crops),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_scale_for_every_channel_cannot_be_said(trio: Any, tmp_path: Path) -> None:
    view = Preprocess(size=64, mean=(0.5,) * 3, std=(0.229, 0.224, 0.225))
    model = rewritten(trio.graph, tmp_path / "m.onnx", preprocess=view)
    with pytest.raises(StageError, match="one scale for all channels") as caught:
        write_cpu_bundle(model, tmp_path / "m.synap")
    assert "[0.229, 0.224, 0.225]" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("changes", [{"opset": 20}, {"ir_version": 10}])
def test_a_model_beyond_the_runtime(trio: Any, tmp_path: Path, changes: Any) -> None:
    model = rewritten(trio.graph, tmp_path / "m.onnx", **changes)
    with pytest.raises(StageError, match="are beyond the runtime's 19 and 9"):
        write_cpu_bundle(model, tmp_path / "m.synap")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(StageError, match="is not a readable ONNX file"):
        write_cpu_bundle(tmp_path / "m.onnx", tmp_path / "m.synap")
    with pytest.raises(StageError, match="there is no such file"):
        write_cpu_bundle(tmp_path / "x.onnx", tmp_path / "m.synap")
