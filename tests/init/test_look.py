"""What is found out about a model file or a name, and what is said of those that are none."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.data.preprocess import METADATA_KEY
from pipeline.errors import MissingError, PipelineError, StageError, UsageError
from pipeline.init.look import look
from pipeline.init.look_weights import _by_file_name

GUESSES = ("mean", "std", "interpolation", "crop")


def test_a_name_of_timms() -> None:
    found = look("test_resnet", None, None)
    assert (found.source, found.file, found.outputs) == ("timm", None, 1000)
    assert found.name.startswith("test_resnet.")
    assert found.view.own and found.view.preprocess.size == 160
    assert found.quantized is None


def test_squeeze_and_excite_is_slow_and_depthwise_is_seen() -> None:
    found = look("test_efficientnet", None, None)
    assert found.depthwise
    assert any("x Mul" in finding for finding in found.npu)


def test_a_name_that_timm_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"timm does not know 'test_resnt'.*\n.*test_resnet"):
        look("test_resnt", None, None)


@pytest.mark.parametrize("name", ["models/net", "./net", "net.onnx", "net.ckpt", "net.synap"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="there is no such file"):
        look(str(tmp_path / name), None, None)


def test_a_checkpoint_and_its_architecture(tiny: Path) -> None:
    found = look(str(tiny / "weights.safetensors"), "test_resnet", None)
    assert (found.source, found.name, found.outputs) == ("checkpoint", "test_resnet", 10)
    assert not found.view.own and found.view.preprocess.size == 160


def test_an_architecture_that_is_not_given(tiny: Path, models: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"do not say of which architecture.*\n.*--arch NAME$"):
        look(str(tiny / "weights.safetensors"), None, None)
    named = tmp_path / "test_resnet-0a1b2c3d.safetensors"
    named.write_bytes((tiny / "weights.safetensors").read_bytes())
    with pytest.raises(UsageError, match="by its name it may be test_resnet"):
        look(str(named), None, None)
    assert look(str(named), None, models.Person()).name == "test_resnet"


@pytest.mark.parametrize(
    ("file", "name"),
    [("mobilenetv2_100_ra-b33bc2c4.pth", "mobilenetv2_100"), ("resnet50-0676ba61.pth", "resnet50"),
     ("resnet5.pth", ""), ("model.pth", "")],
)  # fmt: skip
def test_an_architecture_by_the_name_of_its_file(file: str, name: str) -> None:
    assert _by_file_name(Path(file)) == name


def test_weights_of_another_architecture_are_refused_as_in_a_run(tiny: Path) -> None:
    with pytest.raises(StageError, match="these weights do not fit"):
        look(str(tiny / "weights.safetensors"), "resnet18", None)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "weights file is empty|is empty"), (b"<html>", "web page"), (b"abc", "not a weights"),
     (b"PK\x03\x04abc", "damaged"), (b"\x80\x02abc", "damaged"),
     (b"version https://git-lfs", "Git LFS pointer")],
)  # fmt: skip
@pytest.mark.parametrize("arch", [None, "test_resnet"])
def test_malformed_weights(content: bytes, said: str, arch: str | None, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises((StageError, MissingError), match=said):
        look(str(tmp_path / "net.pth"), arch, None)


def test_a_ckpt_is_told_by_its_content(tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    file = tmp_path / "net.ckpt"
    torch.save({"state_dict": load_file(tiny / "weights.safetensors")}, file)
    assert look(str(file), "test_resnet", None).source == "checkpoint"
    file.write_bytes(b"\x0a\xff\xff\xff\xff\x0f")
    with pytest.raises(StageError, match="no MindSpore checkpoint"):
        look(str(file), None, None)
    with pytest.raises(UsageError, match="source 'mindcv' has inception_v4 only"):
        look(str(file), "resnet50", None)


@pytest.mark.slow
def test_a_mindcv_checkpoint(models: Any, tmp_path: Path) -> None:
    found = look(str(models.mindcv_checkpoint(tmp_path / "net.ckpt", 5)), None, None)
    assert (found.source, found.name, found.outputs) == ("mindcv", "inception_v4", 5)
    assert found.view.own and found.view.preprocess.interpolation == "bilinear"


def test_a_float_onnx_file(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx", softmax=True, depthwise=True, gate=True)
    found = look(str(file), None, None)
    assert (found.source, found.name, found.file) == ("onnx", "net", file)
    assert (found.outputs, found.quantized, found.depthwise) == (10, None, True)
    assert found.view.preprocess.size == 32 and found.view.guessed == GUESSES
    assert found.view.preprocess.std == (0.229, 0.224, 0.225)
    assert found.npu == ("1 x Mul (mul1): the NPU runs it on its slow programmable unit",)
    assert found.notes == ("The Softmax at the model's end is left out: logits are kept.",)


def test_tensorflows_classes_and_a_free_size(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx", classes=1001, size="S")
    found = look(str(file), None, None)
    assert found.view.guessed == ("size", *GUESSES)
    assert (found.view.preprocess.size, found.view.preprocess.mean) == (224, (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("mean", "std", "fed"), [(0.45, 0.225, 1.0), (114.75, 57.375, 1 / 255), (127.5, 127.5, 1 / 255)]
)
def test_a_model_that_normalizes_its_input(
    models: Any, tmp_path: Path, mean: float, std: float, fed: float
) -> None:
    file = models.classifier(tmp_path / "net.onnx", normalize=(mean, std))
    view = look(str(file), None, None).view
    assert (view.preprocess.mean, view.preprocess.std) == ((0.0,) * 3, (fed,) * 3)
    assert view.guessed == ("interpolation", "crop")
    assert "normalizes its input itself" in view.origin


def test_what_our_own_files_declare(models: Any, tmp_path: Path, trio: Any) -> None:
    view = look(str(trio.graph), None, None).view
    assert (view.preprocess, view.guessed) == (trio.view, ())
    file = models.classifier(tmp_path / "net.onnx", metadata={METADATA_KEY: "{"})
    found = look(str(file), None, None)
    assert found.view.guessed == GUESSES
    assert "are damaged and were not used" in found.notes[0]


def test_a_qdq_file(models: Any, tmp_path: Path) -> None:
    file = models.quantized(models.classifier(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    found = look(str(file), None, None)
    assert found.source == "quantized-onnx"
    assert found.quantized is not None and "asymmetric" in found.quantized
    assert found.outputs == 10
    assert found.view.guessed == GUESSES


@pytest.mark.parametrize(
    ("scale", "zero_point", "mean", "std"),
    [(1.0, 0, 0.0, 1 / 255), (1 / 127.5, 128, 0.5, 0.5), (1 / 255, 0, 0.0, 1.0)],
)
def test_the_integers_of_a_qdq_file_say_how_it_is_fed(
    models: Any, tmp_path: Path, scale: float, zero_point: int, mean: float, std: float
) -> None:
    found = look(str(_with_input(models, tmp_path, scale, zero_point)), None, None)
    assert (found.view.preprocess.mean, found.view.preprocess.std) == ((mean,) * 3, (std,) * 3)
    assert found.view.guessed == ("interpolation", "crop") and found.notes == ()


def test_the_integers_of_imagenets_three_deviations(models: Any, tmp_path: Path) -> None:
    """What was found out is said, and that a run will refuse it."""
    found = look(str(_with_input(models, tmp_path, 4.758 / 255, 114)), None, None)
    assert found.view.preprocess.std == (0.229, 0.224, 0.225) and "std" not in found.view.guessed
    assert any("SyNAP knows one deviation" in note for note in found.notes)


def test_a_qdq_file_for_one_image_at_a_time(models: Any, tmp_path: Path) -> None:
    """A constant stands beside the features of the one image."""
    float_file = models.classifier(tmp_path / "f.onnx")
    model = onnx.load(float_file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    beside = np.ones((1, 2), np.float32)
    weights = np.random.default_rng(0).normal(0, 0.5, (10, 10)).astype(np.float32)
    kept = [item for item in model.graph.initializer if item.name != "f"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(
        [
            *kept,
            onnx.numpy_helper.from_array(beside, "k"),
            onnx.numpy_helper.from_array(weights, "f"),
        ]
    )
    head = model.graph.node.pop()
    model.graph.node.append(onnx.helper.make_node("Concat", ["flat", "k"], ["both"], axis=1))
    head.input[0] = "both"
    model.graph.node.append(head)
    onnx.save(model, float_file)
    with pytest.raises(StageError, match="made for 1 images at a time") as caught:
        look(str(models.quantized(float_file, tmp_path / "q.onnx")), None, None)
    assert "free batch size" in caught.value.hint


def _with_input(models: Any, tmp_path: Path, scale: float, zero_point: int) -> Path:
    """A QDQ file whose input has this grid, as uint8."""
    file: Path = models.quantized(models.classifier(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    model = onnx.load(file)
    for name, value in (("image_scale", scale), ("image_zero_point", zero_point)):
        [tensor] = [item for item in model.graph.initializer if item.name == name]
        dtype = onnx.numpy_helper.to_array(tensor).dtype
        is_signed = dtype == np.int8
        array = np.asarray(value - 128 * is_signed, dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, file)
    return file


def test_a_qdq_file_is_not_guessed_to_have_three_deviations(models: Any, tmp_path: Path) -> None:
    """A run refuses those."""
    file = models.quantized(models.classifier(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    found = look(str(file), None, None)
    assert found.view.guessed == GUESSES and found.view.preprocess.std == (0.5,) * 3
    assert any("SyNAP knows one deviation" in note for note in found.notes)


def test_a_qdq_file_is_held_to_its_graph_and_plan(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rendering with a fault stands in for an import with one, which is not to be had."""
    from pipeline.quant import qdq

    file = models.quantized(models.classifier(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    render = qdq.render_qdq

    def faulty(model: Any, plan: Any) -> None:
        coarse = plan.activations["relu1" if "relu1" in plan.activations else "conv1"]
        wrong = coarse.model_copy(update={"scale": (coarse.scale[0] * 40,)})
        changed = {name: wrong if t is coarse else t for name, t in plan.activations.items()}
        render(model, plan.model_copy(update={"activations": changed}))

    monkeypatch.setattr(qdq, "render_qdq", faulty)
    with pytest.raises(StageError, match=r"q\.onnx: as Graph and Plan it gives other logits"):
        look(str(file), None, None)


@pytest.mark.parametrize("content", [b"", b"onnx", b"\x08\x08\x3a\x7f", bytes(64)])
def test_malformed_onnx(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(StageError, match=r"net\.onnx"):
        look(str(tmp_path / "net.onnx"), None, None)


def refused(model: onnx.ModelProto, tmp_path: Path) -> str:
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StageError) as caught:
        look(str(tmp_path / "bad.onnx"), None, None)
    return str(caught.value)


def test_onnx_that_no_run_could_take(models: Any, tmp_path: Path) -> None:
    base = models.classifier(tmp_path / "net.onnx")
    model = onnx.load(str(base))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    assert "an image of 3 channels is needed" in refused(model, tmp_path)
    model = onnx.load(str(base))
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 48
    assert "its input is 32x48, but data.preprocess gives 32x32" in refused(model, tmp_path)
    model = onnx.load(str(base))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 40
    assert "data.preprocess gives 224x224" in refused(model, tmp_path)
    model = onnx.load(str(base))
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "second"
    model.graph.node.append(onnx.helper.make_node("Relu", ["second"], ["unread"]))
    model.graph.node.insert(
        0, onnx.helper.make_node("Add", ["image", "second"], ["both"], name="/both")
    )
    model.graph.node[1].input[0] = "both"
    assert "has the inputs ['image', 'second']" in refused(model, tmp_path)
    model = onnx.load(str(base))
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../secret"
    assert "it is not followed" in refused(model, tmp_path)


def test_onnx_that_only_running_it_finds_out(models: Any, tmp_path: Path) -> None:
    """A constant of one image's size is joined to the features, as vision transformers do."""
    model = onnx.load(str(models.classifier(tmp_path / "net.onnx")))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    token = np.ones((1, 8, 1, 1), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(token, "token"))
    at = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Flatten")
    pooled = model.graph.node[at].input[0]
    joined = onnx.helper.make_node("Concat", [pooled, "token"], ["both"], axis=2)
    mean = onnx.helper.make_node("GlobalAveragePool", ["both"], ["mean"])
    model.graph.node[at].input[0] = "mean"
    model.graph.node.insert(at, mean)
    model.graph.node.insert(at, joined)
    assert "made for 1 images at a time" in refused(model, tmp_path)


def test_a_float_tflite_file(models: Any, tmp_path: Path) -> None:
    found = look(str(models.float_tflite(tmp_path / "net.tflite", 1001)), None, None)
    assert (found.source, found.outputs, found.quantized) == ("tflite", 1001, None)
    assert found.view.guessed == GUESSES and found.view.preprocess.size == 32
    assert "do not say its mean and std" in found.view.origin
    assert any("x Mul" in finding for finding in found.npu)


def test_a_quantized_tflite_file(models: Any, tmp_path: Path) -> None:
    found = look(str(models.integer_tflite(tmp_path / "net.tflite")), None, None)
    assert (found.source, found.outputs) == ("quantized-tflite", 3)
    assert found.quantized == "uint8, asymmetric_affine"
    assert found.view.preprocess.mean == (0.0,) * 3
    assert np.allclose(found.view.preprocess.std, 1.0)
    assert found.view.guessed == ("interpolation", "crop")
    assert found.npu == ("1 x ReduceMean: the NPU runs it on its slow programmable unit",)


@pytest.mark.parametrize(
    ("grid", "means", "mean", "said"),
    [
        ((1 / 128, 128), None, 0.501961, "the picture's bytes."),
        ((1 / 128, 128), (128.0, 128.0), 0.501961, "The file's metadata say its mean and std."),
        ((1 / 128, 128), (127.5, 127.5), 0.501961, "bytes, not quite those of the metadata."),
        ((0.02, 114), (124.0, 58.0), 0.486275, "The file's metadata say its mean and std."),
    ],
)
def test_who_says_what_an_integer_file_is_fed(
    models: Any, tmp_path: Path, grid: Any, means: Any, mean: float, said: str
) -> None:
    view = look(
        str(models.integer_tflite(tmp_path / "n.tflite", grid=grid, means=means)), None, None
    ).view
    assert view.preprocess.mean == (mean,) * 3
    assert view.origin.endswith(said)


def test_the_first_class_of_a_tflite_file(models: Any, tmp_path: Path) -> None:
    from pipeline.lower.metadata import with_labels

    file = models.integer_tflite(tmp_path / "net.tflite", means=(0.0, 255.0))
    assert look(str(file), None, None).first_class is None
    file.write_bytes(with_labels(file.read_bytes(), ["background", "tench", "goldfish"]))
    assert look(str(file), None, None).first_class == "background"


def test_tflite_that_no_run_could_take(models: Any, tmp_path: Path) -> None:
    for content in (b"", b"\x08\0\0\0TFL3", struct.pack("<I", 1 << 31) + b"TFL3" + bytes(64)):
        (tmp_path / "net.tflite").write_bytes(content)
        with pytest.raises(StageError, match="is not a readable TFLite model"):
            look(str(tmp_path / "net.tflite"), None, None)
    with pytest.raises(StageError, match=r"is 8x6, but data\.preprocess gives squares"):
        look(str(models.integer_tflite(tmp_path / "net.tflite", (8, 6))), None, None)
    with pytest.raises(StageError, match="is int16"):
        look(str(models.integer_tflite(tmp_path / "net.tflite", dtype="int16")), None, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [("net.synap", "compiled already"), ("net.h5", "TensorFlow"), ("net.yaml", "is no model"),
     ("net.txt", "is no model by its ending")],
)  # fmt: skip
def test_files_of_other_kinds(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(UsageError, match=said):
        look(str(tmp_path / name), None, None)


def test_folders_and_an_architecture_too_many(tmp_path: Path, models: Any) -> None:
    for name in ("net.onnx", "net"):
        (tmp_path / name).mkdir()
        with pytest.raises(PipelineError, match="is a folder"):
            look(str(tmp_path / name), None, None)
    with pytest.raises(UsageError, match=r"a model is expected\n.*pipeline init MODEL --data "):
        look(f"{tmp_path}/net/", None, None)
    with pytest.raises(UsageError, match="--arch: says of which architecture"):
        look(str(models.classifier(tmp_path / "m.onnx")), "resnet50", None)
