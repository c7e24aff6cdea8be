"""One model in three forms gives the same logits, and what cannot be run says why."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import Format
from pipeline.data.preprocess import METADATA_KEY, Normalization, Preprocess
from pipeline.errors import PipelineError, StageError, UsageError
from pipeline.runners import RUNNERS, open_runner
from pipeline.runners.declared import preprocess_for
from pipeline.runners.onnx import declared_preprocess, make_session
from pipeline.sources.model_folder import load_model
from pipeline.synap.bundle import Meta, Subgraph, Tensor
from pipeline.synap.bundle_write import write_bundle

COUNT = 11
FLOAT_FORMS: list[Format] = [format for format in RUNNERS if format != "tflite"]
"""Our TFLite files have integers only (test_tflite.py)."""


@pytest.fixture(scope="module")
def crops(trio: Any) -> Any:
    random = np.random.default_rng(3)
    return random.integers(0, 256, (COUNT, trio.view.size, trio.view.size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(trio: Any, crops: Any) -> Any:
    """PyTorch itself, without any of our runners: normalised by torch, an image at a time."""
    model = load_model(trio.folder)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(trio.view.mean)[:, None, None]
    with torch.inference_mode():
        rows = [model(((image - mean) / 0.25)[None])[0] for image in images]
    return torch.stack(rows).numpy()


def paths(trio: Any) -> dict[Format, Path]:
    return {"torch": trio.folder, "onnx": trio.graph, "qdq-onnx": trio.graph, "synap": trio.bundle}


@pytest.mark.parametrize("format", FLOAT_FORMS)
def test_all_forms_give_the_same_logits(
    trio: Any, crops: Any, expected: Any, format: Format
) -> None:
    runner = open_runner(format, paths(trio)[format], trio.view.normalization, 2)
    logits = runner(crops)
    assert (logits.shape, logits.dtype) == ((COUNT, 10), np.float32)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", FLOAT_FORMS)
def test_an_images_logits_do_not_depend_on_its_batch(trio: Any, crops: Any, format: Format) -> None:
    runner = open_runner(format, paths(trio)[format], trio.view.normalization, 1)
    whole = runner(crops)
    parts = np.concatenate([runner(crops[:4]), runner(crops[4:5]), runner(crops[5:])])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(runner(crops[::-1]), whole[::-1], rtol=1e-4, atol=1e-5)


def test_the_normalization_in_the_file_wins(trio: Any, crops: Any) -> None:
    other = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    for format in ("onnx", "synap"):
        path = paths(trio)[format]
        np.testing.assert_array_equal(
            open_runner(format, path, other, 1)(crops),
            open_runner(format, path, trio.view.normalization, 1)(crops),
        )


def test_torch_needs_a_normalization(trio: Any) -> None:
    with pytest.raises(StageError, match="needs a declared preprocessing"):
        open_runner("torch", trio.folder, None, 1)


# ONNX files that others made


def classifier(
    shape: Any = ("n", 3, 8, 8),
    *,
    inputs: int = 1,
    metadata: str | None = None,
    four_dimensions: bool = False,
) -> onnx.ModelProto:
    """The first logits are the channels' means, the last ones are 0."""
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"])]
    matrix = np.eye(shape[1], 5, dtype=np.float32)
    if four_dimensions:
        nodes.append(helper.make_node("Conv", ["p", "w"], ["y"]))
        matrix = matrix.T[..., None, None]
    else:
        nodes.append(helper.make_node("Flatten", ["p"], ["f"]))
        nodes.append(helper.make_node("Gemm", ["f", "w"], ["y"]))
    names = ["x", *(f"x{i}" for i in range(1, inputs))]
    result = [shape[0], 5, 1, 1] if four_dimensions else [shape[0], 5]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(np.ascontiguousarray(matrix), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if metadata is not None:
        model.metadata_props.add(key=METADATA_KEY, value=metadata)
    return model


def of_doubles() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ("n", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ("n", 192))],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


PLAIN = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("batch", ["n", 1, 2, 4, 7, 16])
@pytest.mark.parametrize("four_dimensions", [False, True])
def test_any_batch_size(tmp_path: Path, batch: Any, four_dimensions: bool) -> None:
    path = written(tmp_path, classifier((batch, 3, 8, 8), four_dimensions=four_dimensions))
    crops = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    logits = open_runner("onnx", path, PLAIN, 1)(crops)
    assert logits.shape == (7, 5)
    np.testing.assert_allclose(logits[:, :3], crops.mean(axis=(1, 2)) / 255, rtol=1e-5)
    np.testing.assert_array_equal(logits[:, 3:], 0)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (classifier(inputs=2), "has 2 inputs and 1 outputs"),
        (of_doubles(), "one float32 image input"),
        (classifier(("n", 8, 8, 3)), r"wants images of shape \[8, 8, 3\], but .* \[3, 8, 8\]"),
        (classifier(("n", 3, 9, 8)), r"wants images of shape \[3, 9, 8\], but .* \[3, 8, 8\]"),
        (classifier((1, 3, "h", 9)), r"wants images of shape \[3, 'h', 9\], but .* \[3, 8, 8\]"),
    ],
)
def test_a_model_that_is_no_such_classifier(
    tmp_path: Path, model: onnx.ModelProto, expected: str
) -> None:
    path = written(tmp_path, model)
    with pytest.raises(StageError, match=expected) as caught:
        open_runner("onnx", path, PLAIN, 1)(np.zeros((2, 8, 8, 3), np.uint8))
    assert caught.value.where == str(path)


def of_one_image(shape: Any, reshaped: tuple[int, ...]) -> onnx.ModelProto:
    """Says that it takes any number of images, but was exported with one."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(reshaped, np.int64), "shape")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_model_that_fails_when_it_is_run(tmp_path: Path) -> None:
    path = written(tmp_path, of_one_image(("n", 3, 8, 8), (1, 192)))
    runner = open_runner("onnx", path, PLAIN, 1)
    assert runner(np.zeros((1, 8, 8, 3), np.uint8)).shape == (1, 192)
    with pytest.raises(StageError, match="ONNX Runtime cannot run the model") as caught:
        runner(np.zeros((16, 8, 8, 3), np.uint8))
    assert caught.value.where == str(path)
    assert "\n" not in caught.value.what
    assert "16 images at once" in caught.value.hint and "batch size of 1" in caught.value.hint
    path = written(tmp_path, of_one_image(("n", 3, "h", "w"), (-1, 192)))
    with pytest.raises(StageError, match="ONNX Runtime cannot run the model") as caught:
        open_runner("onnx", path, PLAIN, 1)(np.zeros((1, 9, 9, 3), np.uint8))
    assert "preprocessing" in caught.value.hint and "at once" not in caught.value.hint


def test_outputs_that_are_no_rows(tmp_path: Path) -> None:
    model = classifier(("n", 3, 8, 8))
    model.graph.node.append(helper.make_node("ReduceMean", ["y"], ["z"], axes=[0]))
    model.graph.output[0].name = "z"
    path = written(tmp_path, model)
    with pytest.raises(StageError, match="gives 5 numbers for 16 images") as caught:
        open_runner("onnx", path, PLAIN, 1)(np.zeros((16, 8, 8, 3), np.uint8))
    assert caught.value.where == str(path)


def test_no_preprocessing_anywhere(tmp_path: Path) -> None:
    path = written(tmp_path, classifier())
    with pytest.raises(StageError, match="declares no preprocessing"):
        open_runner("onnx", path, None, 1)
    with pytest.raises(UsageError, match="declares no preprocessing") as caught:
        preprocess_for(path, "onnx", None)
    assert "--config" in caught.value.hint
    view = Preprocess(size=8)
    assert preprocess_for(path, "onnx", view) == view


def test_the_declared_preprocessing_wins(tmp_path: Path, trio: Any) -> None:
    assert preprocess_for(trio.graph, "onnx", Preprocess(size=9)) == trio.view
    assert preprocess_for(trio.bundle, "synap", Preprocess(size=9)) == trio.view


@pytest.mark.parametrize("text", ["", "{", "{}", '{"size": 0}'])
def test_a_damaged_preprocessing(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, classifier(metadata=text))
    with pytest.raises(StageError, match="metadata preprocess is damaged"):
        open_runner("onnx", path, PLAIN, 1)
    assert declared_preprocess({}, "") is None


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000)])
def test_what_onnxruntime_refuses(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(StageError, match="ONNX Runtime refuses the model") as caught:
        make_session(path, 1)
    assert caught.value.where == str(path)
    assert "\n" not in caught.value.what
    with pytest.raises(StageError, match="ONNX Runtime refuses the model"):
        make_session(content, 1, where="somewhere")
    with pytest.raises(StageError, match="ONNX Runtime refuses the model"):
        make_session(tmp_path / "nowhere.onnx", 1)


def test_sessions_use_the_exact_integer_kernels(trio: Any) -> None:
    options = make_session(trio.graph, 2).get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    assert options.intra_op_num_threads == 2
    assert make_session(trio.graph, 1).get_providers() == ["CPUExecutionProvider"]


def u8s8_convolution() -> onnx.ModelProto:
    """uint8 activations and int8 weights, all at their ends: the sums of two products pass 16 bits."""
    scale, nodes = {"s": np.array(1.0, np.float32)}, []
    constants: dict[str, Any] = {
        **scale,
        "z8": np.array(0, np.uint8),
        "zi": np.array(0, np.int8),
        "w": np.full((8, 64, 1, 1), 127, np.int8),
        "big": np.array(1e5, np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z8"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z8"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "zi"], ["wd"]),
        helper.make_node("Conv", ["d", "wd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "big", "z8"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "big", "z8"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 4, 4])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_integer_sums_do_not_saturate() -> None:
    # 64 * 255 * 127 = 2 072 640, which is 20.7 steps of 1e5. Where pairs of products saturate at
    # 32767 the sum is at most 32 * 32767 = 1 048 544: 10 steps. With VNNI nothing ever saturates.
    session = make_session(u8s8_convolution().SerializeToString(), 1)
    image = np.full((1, 64, 4, 4), 255.0, np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": image})[0], np.float32(2_100_000))


# Bundles


def bundle_of(path: Path, model: bytes, delegate: str = "onnx cpu=1 ", **image: Any) -> Path:
    tensor = {
        "shape": (1, 3, 8, 8), "format": "nchw", "dtype": "float32", "name": "x",
        "mean": (0.0, 0.0, 0.0), "scale": 255.0, **image,
    }  # fmt: skip
    meta = Meta(
        inputs={"x": Tensor(**tensor)},
        outputs={"y": Tensor(shape=(1, 5), format="nchw", dtype="float32", name="y")},
        secure=False,
        delegate=delegate,
    )
    write_bundle(path, [Subgraph(model, meta)])
    return path


def test_a_bundle_that_others_made(tmp_path: Path) -> None:
    model = classifier((1, 3, 8, 8)).SerializeToString()
    path = bundle_of(tmp_path / "m.synap", model)
    crops = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    logits = open_runner("synap", path, None, 1)(crops)
    np.testing.assert_allclose(logits[:, :3], crops.mean(axis=(1, 2)) / 255, rtol=1e-5)


def test_what_the_bundle_says_is_what_is_done(tmp_path: Path) -> None:
    model = classifier((1, 3, 8, 8)).SerializeToString()
    path = bundle_of(tmp_path / "m.synap", model, mean=(1.0, 20.0, 127.5), scale=2.0)
    crops = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    logits = open_runner("synap", path, None, 1)(crops)
    expected = (crops.mean(axis=(1, 2)) - [1.0, 20.0, 127.5]) / 2
    np.testing.assert_allclose(logits[:, :3], expected, rtol=1e-4)


def test_pictures_of_another_size_than_a_bundles(tmp_path: Path) -> None:
    model = classifier(("n", 3, "h", "w")).SerializeToString()
    path = bundle_of(tmp_path / "m.synap", model)
    with pytest.raises(StageError, match=r"wants .* \[3, 8, 8\], but .* \[3, 9, 9\]") as caught:
        open_runner("synap", path, None, 1)(np.zeros((2, 9, 9, 3), np.uint8))
    assert caught.value.where == str(path)


def test_a_bundle_whose_model_is_another_than_it_says(tmp_path: Path) -> None:
    model = classifier((1, 3, 9, 9)).SerializeToString()
    path = bundle_of(tmp_path / "m.synap", model)
    with pytest.raises(StageError, match="ONNX Runtime cannot run the model") as caught:
        open_runner("synap", path, None, 1)(np.zeros((2, 8, 8, 3), np.uint8))
    assert caught.value.where == str(path)
    assert "meta" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"delegate": "npu"}, "runs on npu"),
        ({"mean": None}, "its input has no mean, scale or nchw format"),
        ({"scale": None}, "its input has no mean, scale or nchw format"),
        ({"format": "nhwc", "shape": (1, 8, 8, 3)}, "its input has no mean, scale or nchw format"),
    ],
)
def test_a_bundle_that_cannot_be_run_here(tmp_path: Path, changes: Any, expected: str) -> None:
    model = classifier((1, 3, 8, 8)).SerializeToString()
    path = bundle_of(tmp_path / "m.synap", model, **changes)
    with pytest.raises(StageError, match=expected) as caught:
        open_runner("synap", path, None, 1)
    assert caught.value.where == str(path)


def test_a_bundle_of_something_else(tmp_path: Path) -> None:
    path = bundle_of(tmp_path / "m.synap", b"not ONNX")
    with pytest.raises(StageError, match="ONNX Runtime refuses the model"):
        open_runner("synap", path, None, 1)
    with pytest.raises(PipelineError):
        preprocess_for(path, "synap", None)


def test_an_npu_bundle_declares_nothing_that_could_be_read(tmp_path: Path) -> None:
    path = bundle_of(tmp_path / "m.synap", b"EBGX" + bytes(100), delegate="npu")
    with pytest.raises(StageError, match="runs on npu"):
        preprocess_for(path, "synap", Preprocess(size=8))


def test_the_runtime_is_the_one_that_is_in_the_keys() -> None:
    tools = {tools for _, tools in RUNNERS.values()}
    assert tools == {("torch", "timm"), ("onnxruntime",), ("ai-edge-litert",)}
    assert onnxruntime.__version__
