"""Calibration files, held against the metafile that names them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import StageError
from pipeline.synap.metafile import Input, Metafile, Quantization
from pipeline.synap.metafile_dataset import check_dataset


def metafile(*patterns: str, shape: Any = (1, 3, 8, 6), format: str = "rgb") -> Metafile:
    tensor = Input(name="input", shape=shape, format=format)
    return Metafile(
        inputs=(tensor,) * len(patterns),
        quantization=Quantization(dataset=patterns, scheme="asymmetric_affine"),
    )


def pictures(folder: Path, *names: str, size: tuple[int, int] = (6, 8)) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(folder / name)


def arrays(folder: Path, *names: str, shape: tuple[int, ...] = (1, 3, 8, 6)) -> None:
    for name in names:
        np.save(folder / name, np.zeros(shape, np.float32))


def test_images_of_the_inputs_size(tmp_path: Path) -> None:
    pictures(tmp_path, "c/1.png", "c/2.png", "c/.hidden.png")
    assert check_dataset(metafile("c/*.png"), tmp_path, "onnx") == 2
    assert check_dataset(metafile("c/*.png", shape=(1, 8, 6, 3)), tmp_path, "tflite") == 2


def test_arrays_of_the_inputs_shape(tmp_path: Path) -> None:
    arrays(tmp_path, "1.npy", "2.npy")
    assert check_dataset(metafile("*.npy", "*.npy"), tmp_path, "onnx") == 2


def test_nothing_to_quantize() -> None:
    assert check_dataset(Metafile(), Path("/nowhere"), "onnx") == 0


def test_rule_18_no_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"dataset c/\*.png: finds no file") as caught:
        check_dataset(metafile("c/*.png"), tmp_path, "onnx")
    assert str(tmp_path) in caught.value.hint


def test_rule_18_another_number_for_each_input(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    with pytest.raises(StageError, match="different numbers"):
        check_dataset(metafile("a/*.png", "b/*.png"), tmp_path, "onnx")


def test_rule_18_a_space_or_a_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "c/1.png", "c/a b.png")
    with pytest.raises(StageError, match=r"a space in the name: a b.png"):
        check_dataset(metafile("c/*.png"), tmp_path, "onnx")
    with pytest.raises(StageError, match="not a file: c"):
        check_dataset(metafile("*"), tmp_path, "onnx")


def test_rule_19_images_and_arrays(tmp_path: Path) -> None:
    pictures(tmp_path, "c/1.png")
    arrays(tmp_path / "c", "2.npy")
    with pytest.raises(StageError, match="mixed"):
        check_dataset(metafile("c/*"), tmp_path, "onnx")


def test_rule_20_another_size(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"c/{n}.png" for n in range(5)), size=(8, 6))
    with pytest.raises(StageError, match=r"not 6x8 .*: 0.png, 1.png, 2.png and 2 more"):
        check_dataset(metafile("c/*.png"), tmp_path, "onnx")
    stretched = metafile("c/*.png", format="rgb keep_proportions=0")
    assert check_dataset(stretched, tmp_path, "onnx") == 5


def test_rule_21_another_shape(tmp_path: Path) -> None:
    arrays(tmp_path, "1.npy", shape=(3, 8, 6))
    with pytest.raises(StageError, match=r"not of the input's shape \[1, 3, 8, 6\]: 1.npy"):
        check_dataset(metafile("*.npy"), tmp_path, "onnx")


@pytest.mark.parametrize("name", ["1.png", "1.npy"])
def test_a_file_that_is_neither(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(StageError, match=f"{name} is not"):
        check_dataset(metafile(f"*{Path(name).suffix}"), tmp_path, "onnx")


def test_a_pickled_array_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StageError, match="not a plain array"):
        check_dataset(metafile("*.npy"), tmp_path, "onnx")


def test_several_arrays_in_one_file(tmp_path: Path) -> None:
    with (tmp_path / "1.npy").open("wb") as stream:
        np.savez(stream, a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(StageError, match="holds several arrays"):
        check_dataset(metafile("*.npy"), tmp_path, "onnx")


def test_images_for_an_input_that_is_none(tmp_path: Path) -> None:
    pictures(tmp_path, "c/1.png")
    with pytest.raises(StageError, match=r"images cannot fill"):
        check_dataset(metafile("c/*.png", shape=(1, 48)), tmp_path, "onnx")


def test_datasets_and_inputs_that_do_not_match(tmp_path: Path) -> None:
    one = metafile("c/*.png")
    with pytest.raises(StageError, match="1 datasets for 0 inputs"):
        check_dataset(one.model_copy(update={"inputs": None}), tmp_path, "onnx")
