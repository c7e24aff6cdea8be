"""TFLite classifiers of several origins: made here tensor by tensor, so that every score is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.preprocess import METADATA_KEY, Normalization, Preprocess
from pipeline.errors import StageError, UsageError
from pipeline.lower.metadata import ENTRY, Facts, encode_metadata
from pipeline.lower.model_file import ModelFile, Quantization
from pipeline.runners import open_runner
from pipeline.runners.declared import preprocess_for

SIZE = 6
HALF = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
Make = Callable[..., Path]


def mean_of_channels(
    dtype: str = "float32",
    *,
    shape: tuple[int, ...] = (1, SIZE, SIZE, 3),
    entry: Quantization | None = None,
    out: Quantization | None = None,
    metadata: dict[str, bytes] | None = None,
    kind: str = "MEAN",
) -> bytes:
    """A model whose scores are the means of the picture's channels."""
    from ai_edge_litert import schema_py_generated as schema

    file = ModelFile()
    image = file.tensor("image", shape, dtype, entry)
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    scores = file.tensor("scores", (shape[0], 3), dtype, out)
    places = file.constant("axes", np.array(axes, np.int32))
    file.operator(kind, 1, [image, places], scores, schema.ReducerOptionsT())
    return file.to_bytes([image], [scores], "", metadata or {})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(*arguments: Any, **options: Any) -> Path:
        path = tmp_path / "m.tflite"
        path.write_bytes(mean_of_channels(*arguments, **options))
        return path

    return write


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)


def test_float(make: Make, crops: np.ndarray) -> None:
    scores = open_runner("tflite", make(), HALF, 2)(crops)
    assert (scores.shape, scores.dtype) == ((7, 3), np.float32)
    expected = (crops.mean(axis=(1, 2)) - 127.5) / 127.5
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_channels_first(make: Make, crops: np.ndarray) -> None:
    """As converters leave models that came from PyTorch."""
    scores = open_runner("tflite", make(shape=(1, 3, SIZE, SIZE)), HALF, 1)(crops)
    np.testing.assert_allclose(scores, (crops.mean(axis=(1, 2)) - 127.5) / 127.5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "low"), [("uint8", 0), ("int8", -128)])
def test_integers_in_and_out(make: Make, crops: np.ndarray, dtype: str, low: int) -> None:
    entry = Quantization((1 / 128,), (128 + low,))
    out = Quantization((0.004,), (100 + low,))
    path = make(dtype, entry=entry, out=out)
    bytes_are_integers = Normalization(mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
    scores = open_runner("tflite", path, bytes_are_integers, 1)(crops)
    real = (crops.astype(np.float64).mean(axis=(1, 2)) - 128) / 128
    steps = np.clip(np.rint(real / 0.004) + 100, 0, 255) - 100
    assert np.abs(scores / 0.004 - steps).max() <= 1.001
    assert np.abs(scores / 0.004 - np.rint(scores / 0.004)).max() < 1e-3, "not on the grid"


def test_the_input_is_rounded_and_saturated(make: Make) -> None:
    """A wider normalization than the integers hold, and one that falls between them."""
    path = make("uint8", entry=Quantization((0.01,), (100,)), out=Quantization((0.01,), (100,)))
    crops = np.full((1, SIZE, SIZE, 3), 0, np.uint8)
    crops[..., 1], crops[..., 2] = 255, 130
    narrow = Normalization(mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.5))
    scores = open_runner("tflite", path, narrow, 1)(crops)
    # -5 and 5 saturate at 0 and 255; (130 - 127.5) / 127.5 = 0.0196 is 2 steps.
    np.testing.assert_allclose(scores, [[-1.0, 1.55, 0.02]], atol=1e-6)


def test_raw_bytes(make: Make, crops: np.ndarray) -> None:
    """uint8 without a scale: the model normalizes by itself, so no normalization is applied."""
    from ai_edge_litert import schema_py_generated as schema

    file = ModelFile()
    image = file.tensor("image", (1, SIZE, SIZE, 3), "uint8", None)
    real = file.tensor("real", image.shape, "float32", None)
    scores = file.tensor("scores", (1, 3), "float32", None)
    types = schema.TensorType
    cast = schema.CastOptionsT(inDataType=types.UINT8, outDataType=types.FLOAT32)
    file.operator("CAST", 1, [image], real, cast)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 1, [real, axes], scores, schema.ReducerOptionsT())
    path = make()
    path.write_bytes(file.to_bytes([image], [scores], "", {}))
    assert preprocess_for(path, "tflite", None).mean == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(
        open_runner("tflite", path, HALF, 1)(crops), crops.mean(axis=(1, 2)), rtol=1e-5
    )


@pytest.mark.parametrize("batch", [1, 2, 4, 7, 16])
def test_any_batch_size(make: Make, crops: np.ndarray, batch: int) -> None:
    path = make(shape=(batch, SIZE, SIZE, 3))
    scores = open_runner("tflite", path, HALF, 1)(crops)
    np.testing.assert_allclose(scores, (crops.mean(axis=(1, 2)) - 127.5) / 127.5, atol=1e-5)


def test_nothing_is_printed(make: Make, crops: np.ndarray, capfd: Any) -> None:
    open_runner("tflite", make(), HALF, 1)(crops)
    assert capfd.readouterr() == ("", "")


# What the file says of its preprocessing

OURS = Preprocess(size=SIZE, interpolation="bilinear", crop=0.9, mean=(0.25,) * 3)
OWN = {METADATA_KEY: OURS.model_dump_json().encode()}
BYTES = Quantization((1 / 128,), (128,))


def test_our_own_files_declare_everything(make: Make, crops: np.ndarray) -> None:
    path = make(metadata=OWN)
    said: list[str] = []
    assert preprocess_for(path, "tflite", Preprocess(size=9), said.append) == OURS
    assert said == []
    for given in (HALF, None):
        scores = open_runner("tflite", path, given, 1)(crops)
        expected = (crops.mean(axis=(1, 2)) / 255 - 0.25) / 0.5
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_what_is_given_comes_before_what_is_guessed(make: Make) -> None:
    given = Preprocess(size=SIZE, interpolation="nearest")
    for path in (make(), make("uint8", entry=BYTES, out=BYTES)):
        assert preprocess_for(path, "tflite", given) == given


def facts(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, bytes]:
    return {ENTRY: encode_metadata(Facts("i", "o", SIZE, SIZE, mean, std, None))}


@pytest.mark.parametrize(
    ("dtype", "entry", "metadata", "mean", "std"),
    [
        ("uint8", BYTES, {}, 128, 128),
        ("int8", Quantization((1 / 128,), (0,)), {}, 128, 128),
        ("uint8", Quantization((1 / 255,), (0,)), {}, 0, 255),
        # Half a step beside the bytes is the bytes; another grid is what the metadata say.
        ("uint8", BYTES, facts((127.5,), (127.5,)), 128, 128),
        ("uint8", Quantization((0.02,), (114,)), facts((124.0,), (58.0,)), 124, 58),
        ("float32", None, facts((127.5,), (127.5,)), 127.5, 127.5),
        ("float32", None, facts((124.0,) * 3, (58.0,) * 3), 124, 58),
    ],
)
def test_what_others_files_say(
    make: Make, dtype: str, entry: Any, metadata: Any, mean: float, std: float
) -> None:
    said: list[str] = []
    path = make(dtype, entry=entry, out=entry, metadata=metadata)
    found = preprocess_for(path, "tflite", None, said.append)
    assert found.size == SIZE
    np.testing.assert_allclose(np.array(found.mean) * 255, mean, rtol=1e-6)
    np.testing.assert_allclose(np.array(found.std) * 255, std, rtol=1e-6)
    [note] = said
    assert "does not say how pictures are cropped to 6x6: taken as bilinear, crop 0.875" in note


def test_a_float_file_without_a_word(make: Make) -> None:
    with pytest.raises(UsageError, match="declares no preprocessing") as caught:
        preprocess_for(make(), "tflite", None)
    assert "--config" in caught.value.hint
    with pytest.raises(StageError, match="declares no preprocessing"):
        open_runner("tflite", make(), None, 1)


def test_what_no_preprocessing_can_say(make: Make) -> None:
    path = make(shape=(1, 6, 8, 3), metadata=facts((0.0,), (1.0,)))
    with pytest.raises(UsageError, match="wants pictures of 6x8"):
        preprocess_for(path, "tflite", None)
    path = make("uint8", entry=Quantization((1e-4,), (0,)), out=BYTES)
    with pytest.raises(UsageError, match="are not those of pictures"):
        preprocess_for(path, "tflite", None)


@pytest.mark.parametrize("text", [b"", b"{", b"{}", b'{"size": 0}', b"\xff"])
def test_a_damaged_preprocessing(make: Make, text: bytes) -> None:
    path = make(metadata={METADATA_KEY: text or b" "})
    with pytest.raises(StageError, match="metadata preprocess is damaged"):
        open_runner("tflite", path, HALF, 1)
    with pytest.raises(StageError, match="metadata preprocess is damaged"):
        preprocess_for(path, "tflite", None)


# Files that cannot be run


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000), b"\x1c\0\0\0TFL3" + bytes(99)])
def test_what_litert_refuses(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    for attempt in (
        lambda: open_runner("tflite", path, HALF, 1),
        lambda: preprocess_for(path, "tflite", None),
    ):
        with pytest.raises(StageError, match="LiteRT refuses the model") as caught:
            attempt()
        assert caught.value.where == str(path) and "\n" not in caught.value.what
    with pytest.raises(StageError, match="LiteRT refuses the model"):
        open_runner("tflite", tmp_path / "nowhere.tflite", HALF, 1)


def test_a_file_cut_short(make: Make) -> None:
    path = make()
    whole = path.read_bytes()
    for length in (8, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(StageError, match="LiteRT refuses the model"):
            open_runner("tflite", path, HALF, 1)


def test_an_operator_that_litert_does_not_have(make: Make) -> None:
    path = make(kind="DELEGATE")
    with pytest.raises(StageError, match="LiteRT refuses the model"):
        open_runner("tflite", path, HALF, 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dtype": "int32"}, "its input is int32 of shape"),
        ({"shape": (1, SIZE, SIZE, 4)}, r"its input is float32 of shape \[1, 6, 6, 4\]"),
        ({"dtype": "int8", "out": BYTES}, "its int8 input has no scale"),
        ({"dtype": "uint8", "entry": BYTES}, "its scores are neither float nor quantized"),
    ],
)
def test_what_is_no_such_classifier(make: Make, options: Any, expected: str) -> None:
    path = make(**options)
    with pytest.raises(StageError, match=expected) as caught:
        open_runner("tflite", path, HALF, 1)
    assert caught.value.where == str(path)


def test_pictures_of_another_size(make: Make) -> None:
    runner = open_runner("tflite", make(), HALF, 1)
    with pytest.raises(StageError, match=r"wants images of shape \[6, 6, 3\], but .* \[5, 6, 3\]"):
        runner(np.zeros((1, 5, SIZE, 3), np.uint8))


def test_several_inputs_or_outputs(make: Make) -> None:
    from ai_edge_litert import schema_py_generated as schema

    path = make()
    for inputs, outputs, expected in ((2, 1, "has 2 inputs"), (1, 2, "has 2 outputs")):
        file = ModelFile()
        images = [file.tensor(f"i{n}", (1, SIZE, SIZE, 3), "float32", None) for n in range(2)]
        sums = [file.tensor(f"o{n}", images[0].shape, "float32", None) for n in range(2)]
        for total in sums:
            file.operator("ADD", 1, [images[0], images[inputs - 1]], total, schema.AddOptionsT())
        path.write_bytes(file.to_bytes(images[:inputs], sums[:outputs], "", {}))
        with pytest.raises(StageError, match=expected):
            open_runner("tflite", path, HALF, 1)
