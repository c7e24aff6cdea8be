import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.class_folders import open_folder
from pipeline.data.class_names import class_names, own_class_names
from pipeline.data.dataset import BrokenImage, Item
from pipeline.errors import MissingError, StageError

Write = Callable[[str, bytes | int], Path]


def test_labels_are_the_sorted_names(folder: Path, write: Write) -> None:
    write("dog/b.jpg", 1)
    write("cat/deeper/a.PNG", 2)
    write("emu/c.jpeg", 3)
    write("cat/notes.txt", b"no image")
    dataset = open_folder(folder)
    assert dataset.listing() == [
        Item("cat/deeper/a.PNG", 0), Item("dog/b.jpg", 1), Item("emu/c.jpeg", 2),
    ]  # fmt: skip
    assert (dataset.class_count, dataset.class_names) == (3, ("cat", "dog", "emu"))
    assert dataset.notes() == ()
    assert dataset.image("cat/deeper/a.PNG").size == (6, 5)


def test_a_list_gives_the_order_and_may_name_classes_without_images(
    folder: Path, write: Write
) -> None:
    write("dog/b.jpg", 1)
    write("cat/a.png", 2)
    (folder / "labels.txt").write_text("emu\ndog\nfox\ncat\n")
    dataset = open_folder(folder)
    assert dataset.listing() == [Item("cat/a.png", 3), Item("dog/b.jpg", 1)]
    assert (dataset.class_count, dataset.class_names) == (4, ("emu", "dog", "fox", "cat"))


def test_what_the_list_does_not_name_and_what_is_in_no_folder_is_told(
    folder: Path, write: Write
) -> None:
    write("dog/b.jpg", 1)
    write("yeti/b.jpg", 2)
    write("yeti/c.jpg", 3)
    write("stray.jpg", 4)
    (folder / "classes.txt").write_text("dog\n")
    dataset = open_folder(folder)
    assert dataset.listing() == [Item("dog/b.jpg", 0)]
    stray, unnamed = dataset.notes()
    assert "1 images in no class folder" in stray
    assert (
        "2 images were left out" in unnamed and "classes.txt" in unnamed and "yeti (2)" in unnamed
    )


def test_numbers_whose_sorted_order_is_not_their_own_are_not_guessed(
    folder: Path, write: Write
) -> None:
    for n in range(11):
        write(f"{n}/a.png", n)
    with pytest.raises(StageError, match="10 comes before smaller ones") as caught:
        open_folder(folder)
    assert "labels.txt" in caught.value.hint
    (folder / "labels.txt").write_text("".join(f"{n}\n" for n in range(11)))
    assert [item.label for item in open_folder(folder).listing()] == [0, 1, 10, *range(2, 10)]


def test_numbers_of_one_length_are_names_like_others(folder: Path, write: Write) -> None:
    for n in (0, 3, 7):
        write(f"{n}/a.png", n)
    assert [item.label for item in open_folder(folder).listing()] == [0, 1, 2]


def test_parts_of_a_dataset_are_not_classes(folder: Path, write: Write) -> None:
    write("train/cat/a.png", 1)
    write("val/cat/b.png", 2)
    with pytest.raises(StageError, match="train, val look like parts of a dataset"):
        open_folder(folder)
    assert open_folder(folder / "val").class_names == ("cat",)


def test_a_folder_without_images_would_shift_the_labels(folder: Path, write: Write) -> None:
    write("cat/a.png", 1)
    write("dog/a.png", 2)
    (folder / "bear").mkdir()
    (folder / ".cache").mkdir()
    with pytest.raises(StageError, match="hold no image: bear; "):
        open_folder(folder)
    (folder / "labels.txt").write_text("bear\ncat\ndog\n")
    assert [item.label for item in open_folder(folder).listing()] == [1, 2]


def test_nothing_there(tmp_path: Path, folder: Path, write: Write) -> None:
    for given in (None, tmp_path / "absent", folder):
        with pytest.raises(MissingError, match="images in class folders: "):
            open_folder(given)
    write("stray.png", 1)
    with pytest.raises(MissingError, match="no image of a known class"):
        open_folder(folder)
    write("cat/a.png", 2)
    (folder / "labels.txt").write_text("dog\n")
    with pytest.raises(MissingError, match="no image of a known class"):
        open_folder(folder)


def test_a_broken_image_names_its_file(folder: Path, write: Write) -> None:
    path = write("cat/a.png", b"text")
    with pytest.raises(BrokenImage) as caught:
        open_folder(folder).image("cat/a.png")
    assert caught.value.where == str(path)


def test_the_names_go_into_files_for_a_model_of_as_many_outputs(folder: Path, write: Write) -> None:
    write("dog/b.jpg", 1)
    write("cat/a.png", 2)
    dataset = open_folder(folder)
    assert class_names("folder", 2, own_class_names(dataset)) == ("cat", "dog")
    # One more output is not said to be TensorFlow's background: it may as well be a class
    # of which there are no images.
    assert class_names("folder", 3, own_class_names(dataset)) is None
    assert class_names("folder", 2) is None


@pytest.mark.parametrize("id", [b"cats/caf\xe9.jpg", b"caf\xe9/a.jpg"])
def test_a_name_that_is_not_utf8_is_refused_before_it_is_written(
    folder: Path, write: Write, id: bytes
) -> None:
    write("dogs/b.jpg", 1)
    write(os.fsdecode(id), 2)
    with pytest.raises(StageError, match="its name is not UTF-8") as caught:
        open_folder(folder)
    assert caught.value.where == f"{folder}/{os.fsdecode(id)}".replace("\udce9", "\\udce9")
    assert "rename" in caught.value.hint
    str(caught.value).encode()


def test_a_class_folder_whose_name_is_two_lines(folder: Path, write: Write) -> None:
    write("cat/a.png", 1)
    write("do\ng/b.png", 2)
    with pytest.raises(StageError, match=r"the class folder 'do\\ng' has a control character"):
        open_folder(folder)
