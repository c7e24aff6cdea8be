"""What is said of TFLite files; the expected numbers are those of the Plans that made them."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.preprocess import METADATA_KEY
from pipeline.errors import StageError
from pipeline.inspect.tflite_file import describe_tflite, tflite_contents
from pipeline.lower.metadata import ENTRY, Facts, encode_metadata, with_labels
from pipeline.lower.model_file import ModelFile, Quantization

Put = Callable[..., Path]


def test_an_integer_model(files: Any, lab: Any) -> None:
    contents = describe_tflite(files.model_tflite)
    [image], [scores] = contents.inputs, contents.outputs
    assert (image.name, image.shape, image.dtype) == ("input", (1, 8, 8, 3), "uint8")
    assert (image.layout, image.scale, image.zero_point) == ("nhwc", (lab.STEP,), (128,))
    assert (image.means, image.deviations) == ((127.0,) * 3, (127.5,) * 3)
    assert (scores.shape, scores.scale, scores.zero_point) == ((1, 4), (0.375,), (128,))
    facts = contents.quantization
    assert facts is not None
    assert (facts.kind, facts.data_type) == ("quantized", "uint8")
    assert facts.scheme == "asymmetric_affine"
    assert contents.class_names == lab.CLASSES
    assert contents.operators["CONV_2D"] == 1
    assert contents.warnings == ()


def test_a_scale_for_every_channel(files: Any) -> None:
    contents = describe_tflite(files.channels_tflite)
    assert contents.quantization is not None
    assert contents.quantization.data_type == "int8"
    assert contents.quantization.scheme == "perchannel_symmetric_affine"
    assert contents.class_names == ()


def mean_model(dtype: str, grid: Quantization | None = None, **metadata: bytes) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    file = ModelFile()
    image = file.tensor("image", (1, 6, 6, 3), dtype, grid)
    scores = file.tensor("scores", (1, 3), dtype, grid)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 1, [image, axes], scores, schema.ReducerOptionsT())
    return file.to_bytes([image], [scores], "made here", metadata)


def test_a_float_model(put: Put) -> None:
    contents = describe_tflite(put(mean_model("float32"), "m.tflite"))
    assert contents.quantization is not None
    assert contents.quantization.kind == "float"
    assert contents.warnings == (
        "float model: the NPU would run it as float16, up to 100 times slower",
    )
    assert contents.facts["description"] == "made here"


def test_several_scales_and_int64(put: Put) -> None:
    several = Quantization((0.5, 0.25, 0.125), (1, 2, 3), 3)
    contents = tflite_contents(mean_model("int8", several), "m")
    assert (contents.inputs[0].scale, contents.inputs[0].axis) == (several.scale, 3)
    assert any("several scales at image, scores" in word for word in contents.warnings)
    assert any("int64 at image" in w for w in tflite_contents(mean_model("int64"), "m").warnings)


def test_normalization_in_tflites_own_metadata() -> None:
    facts = Facts("image", "scores", 6, 6, (127.5,), (128.0,), None)
    contents = tflite_contents(mean_model("float32", **{ENTRY: encode_metadata(facts)}), "m")
    assert (contents.inputs[0].means, contents.inputs[0].deviations) == ((127.5,), (128.0,))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({ENTRY: b"\xff" * 40}, "TFLite metadata are damaged"),
        ({METADATA_KEY: b"{}"}, "are no preprocessing that is known here"),
        ({METADATA_KEY: b"\xff\xfe"}, "are no preprocessing that is known here"),
    ],
)
def test_metadata_that_are_none(metadata: dict[str, bytes], said: str) -> None:
    contents = tflite_contents(mean_model("float32", **metadata), "m")
    assert contents.inputs[0].means == ()
    assert any(said in word for word in contents.warnings)


def test_labels_that_do_not_fit() -> None:
    contents = tflite_contents(with_labels(mean_model("float32"), ["a\x1b", "b"]), "m")
    assert contents.class_names == ("a\\x1b", "b")
    assert any("2 class names, but outputs of 3 values" in word for word in contents.warnings)


def test_labels_that_cannot_be_read(put: Put) -> None:
    """An archive that would unpack to a thousand times its size is not unpacked."""
    path = put(mean_model("float32"), "m.tflite")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "a\n" * 1_000_000)
    contents = describe_tflite(path)
    assert contents.class_names == ()
    assert any("archive behind the model is not read" in word for word in contents.warnings)
    path = put(with_labels(mean_model("float32"), ["x" * 100] * 20_000), "m.tflite")
    assert any("bytes of class names are not read" in w for w in describe_tflite(path).warnings)


def test_an_archive_without_labels(put: Put) -> None:
    path = put(mean_model("float32"), "m.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.txt", "1")
        archive.writestr("b.txt", "2")
    assert describe_tflite(path).class_names == ()


def test_what_is_none(put: Put) -> None:
    path = put(b"TFL3 is not where it belongs", "m.tflite")
    with pytest.raises(StageError, match=r"m.tflite: is not a readable TFLite model: it has no"):
        describe_tflite(path)


def test_the_sample(sample_data: Path) -> None:
    contents = describe_tflite(sample_data / "mobilenet_v2_1.0_224_quant.tflite")
    assert len(contents.class_names) == 1001
    assert (contents.inputs[0].scale, contents.inputs[0].zero_point) == ((0.0078125,), (128,))
    assert contents.quantization is not None
    assert contents.quantization.scheme == "asymmetric_affine"
