import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.class_names import class_names, own_class_names
from pipeline.data.dataset import Item, content_digest
from pipeline.data.npy import open_npy
from pipeline.errors import MissingError, StageError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(12) % 4


def save(folder: Path, images: Any = IMAGES, labels: Any = LABELS) -> Path:
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return folder


def header(text: str, body: bytes = b"") -> bytes:
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + body


def test_rows_are_images(tmp_path: Path) -> None:
    dataset = open_npy(save(tmp_path))
    listing = dataset.listing()
    assert listing[:2] == [Item("00", 0), Item("01", 1)] and listing[-1] == Item("11", 3)
    assert listing == sorted(listing) and dataset.class_count == 4
    for item in listing:
        row = IMAGES[int(item.id)]
        assert dataset.content(item.id) == b"5x6:" + row.tobytes()
        assert (np.asarray(dataset.image(item.id)) == row).all()
    assert dataset.where("03") == f"{tmp_path / 'images.npy'}[3]"
    assert dataset.fingerprint("03") is None and dataset.notes() == ()


def test_an_array_in_fortran_order_has_the_same_rows(tmp_path: Path) -> None:
    dataset = open_npy(save(tmp_path, np.asfortranarray(IMAGES)))
    assert dataset.content("07") == b"5x6:" + IMAGES[7].tobytes()
    assert (np.asarray(dataset.image("07")) == IMAGES[7]).all()


def test_the_same_bytes_of_another_shape_are_other_images(tmp_path: Path) -> None:
    """Saved with height and width exchanged, and mended: what was found on the scrambled pictures
    is not what the right ones give."""
    scrambled = open_npy(save(tmp_path, IMAGES.reshape(12, 6, 5, 3)))
    before = content_digest(scrambled.content("03"))
    mended = open_npy(save(tmp_path))
    assert content_digest(mended.content("03")) != before
    assert mended.image("03").size == (6, 5)


def test_images_are_mapped_and_not_read(tmp_path: Path) -> None:
    """A sparse file that is larger than any memory here."""
    count = 1 << 24
    with (tmp_path / "images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (count, 64, 64, 3)}
        )
        file.truncate(file.tell() + count * 64 * 64 * 3)
    np.save(tmp_path / "labels.npy", np.zeros(count, np.uint8))
    dataset = open_npy(tmp_path)
    assert dataset.content(str(count - 1)) == b"64x64:" + bytes(64 * 64 * 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, ">u2"])
def test_labels_of_any_integer_type(tmp_path: Path, dtype: Any) -> None:
    dataset = open_npy(save(tmp_path, labels=LABELS.astype(dtype)))
    assert [type(item.label) for item in dataset.listing()] == [int] * 12
    assert [item.label for item in dataset.listing()] == LABELS.tolist()


def test_a_class_list_names_the_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    dataset = open_npy(save(tmp_path))
    assert dataset.class_count == 5
    assert class_names("npy", 5, own_class_names(dataset)) == ("a", "b", "c", "d", "e")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(StageError, match=r"label 3, and labels\.txt has 3 classes"):
        open_npy(tmp_path)


def test_without_a_list_they_have_no_names(tmp_path: Path) -> None:
    assert class_names("npy", 4, own_class_names(open_npy(save(tmp_path)))) is None


def test_what_is_missing(tmp_path: Path) -> None:
    for given in (None, tmp_path / "absent", tmp_path):
        with pytest.raises(MissingError, match="images as NumPy arrays: "):
            open_npy(given)
    save(tmp_path)
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(MissingError, match=r"has no labels\.npy"):
        open_npy(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "word"),
    [
        (IMAGES.astype(np.float32), LABELS, "float32"),
        (IMAGES.transpose(0, 3, 1, 2), LABELS, "transpose"),
        (IMAGES[..., 0], LABELS, r"\[12, 5, 6\]"),
        (IMAGES[0], LABELS, r"\[5, 6, 3\]"),
        (IMAGES[:0], LABELS[:0], r"\[0, 5, 6, 3\]"),
        (IMAGES, LABELS[:-1], "has 12 images"),
        (IMAGES, LABELS.astype(np.float32), "float32"),
        (IMAGES, np.eye(12, dtype=np.int64), r"\[12, 12\]"),
        (IMAGES, LABELS - 1, "label -1"),
    ],
)
def test_arrays_of_another_form(tmp_path: Path, images: Any, labels: Any, word: str) -> None:
    with pytest.raises(StageError, match=word):
        open_npy(save(tmp_path, images, labels))


class Harm:
    def __reduce__(self) -> Any:
        return Path("harmed").touch, ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUM",
        b"PK\x05\x06" + bytes(18),
        pickle.dumps(Harm()),
        header("{'descr':'|O','fortran_order':False,'shape':(1,)}", pickle.dumps(Harm())),
        header("{'descr':'|u1','fortran_order':False,'shape':(2,5,6,3)}", b"short"),
        header("{'descr':'|u1','fortran_order':False,'shape':(-2,5,6,3)}", bytes(200)),
        header("{'descr':'|u1','fortran_order':False,'shape':(99999999999999999999,5,6,3)}"),
        header("{'descr':'zz','fortran_order':False,'shape':(1,)}"),
        header("{'descr':[('a','<i4')],'fortran_order':False,'shape':(2,)}", bytes(8)),
        header("(" * 5000),
        header("\x00"),
        b"\x93NUMPY\x07\x00abcd",
    ],
)
@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_malformed_files(
    tmp_path: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (save(tmp_path) / name).write_bytes(content)
    with pytest.raises(StageError) as caught:
        open_npy(tmp_path)
    assert caught.value.where == str(tmp_path / name)
    assert not (tmp_path / "harmed").exists()
