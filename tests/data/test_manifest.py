from pathlib import Path

import pytest

from pipeline.data.dataset import Item
from pipeline.data.manifest import read_manifest
from pipeline.errors import StageError, UsageError

LISTING = [
    Item("val/n01440764/a.JPEG", 0),
    Item("val/n01440764/b c.JPEG", 0),
    Item("val/n01443537/a.JPEG", 1),
    Item("val/n01443537/#d.JPEG", 1),
    Item("whole.JPEG", 7),
    Item("x/whole.JPEG", 8),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.txt"


def read(path: Path, content: bytes | str) -> list[tuple[str, str]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    lines = read_manifest(path, "imagenet", LISTING)
    return [(line.item.id, line.where.removeprefix(f"{path}:")) for line in lines]


def refusal(path: Path, content: bytes | str) -> StageError:
    with pytest.raises(StageError) as caught:
        read(path, content)
    assert caught.value.hint
    return caught.value


def test_ids_labels_comments_and_blanks_in_its_own_order(path: Path) -> None:
    text = (
        "# drawn by hand\n\n"
        "val/n01443537/a.JPEG 1\n"
        "  val/n01440764/b c.JPEG\t 0  \r\n"
        "   # another comment\n"
        "val/n01443537/#d.JPEG 1"
    )
    assert read(path, text) == [
        ("val/n01443537/a.JPEG", "3"),
        ("val/n01440764/b c.JPEG", "4"),
        ("val/n01443537/#d.JPEG", "6"),
    ]


def test_an_ending_of_an_id_that_only_one_image_has(path: Path) -> None:
    assert read(path, "n01440764/a.JPEG 0\nb c.JPEG 0\n") == [
        ("val/n01440764/a.JPEG", "1"),
        ("val/n01440764/b c.JPEG", "2"),
    ]


def test_a_whole_id_goes_before_an_ending(path: Path) -> None:
    assert read(path, "whole.JPEG 7\nx/whole.JPEG 8") == [
        ("whole.JPEG", "1"),
        ("x/whole.JPEG", "2"),
    ]


def test_an_ending_is_of_whole_names(path: Path) -> None:
    assert "no image hole.JPEG" in refusal(path, "hole.JPEG 7").what


def test_a_byte_order_mark_is_passed_over(path: Path) -> None:
    assert read(path, b"\xef\xbb\xbfwhole.JPEG 7") == [("whole.JPEG", "1")]


def test_an_ending_that_two_images_have(path: Path) -> None:
    error = refusal(path, "\n\na.JPEG 0\n")
    assert error.where == f"{path}:3"
    assert "val/n01440764/a.JPEG or val/n01443537/a.JPEG" in error.what


@pytest.mark.parametrize(
    "line",
    *[
        [
            "whole.JPEG",
            "7",
            "whole.JPEG seven",
            "whole.JPEG -7",
            "whole.JPEG 7.0",
            "whole.JPEG ²",
            " 7",
        ]
    ],
)
def test_a_malformed_line(path: Path, line: str) -> None:
    error = refusal(path, f"# first\nx/whole.JPEG 8\n{line}\n")
    assert error.where == f"{path}:3"
    assert "cannot be understood" in error.what and "`id label`" in error.hint


def test_a_line_that_is_no_text(path: Path) -> None:
    error = refusal(path, b"whole.JPEG 7\n\xff\xfe\x00 1\n")
    assert (error.where, error.what) == (f"{path}:2", "not text in UTF-8")


def test_an_unknown_image(path: Path) -> None:
    error = refusal(path, "whole.JPEG 7\nabsent.JPEG 1\n")
    assert error.where == f"{path}:2"
    assert "no image absent.JPEG in the dataset imagenet" in error.what
    assert "6 images, such as val/n01440764/a.JPEG" in error.hint


def test_a_label_that_is_not_the_datasets(path: Path) -> None:
    error = refusal(path, "whole.JPEG 6\n")
    assert error.where == f"{path}:1"
    assert "label 6" in error.what and "has label 7" in error.what


def test_an_image_named_twice(path: Path) -> None:
    error = refusal(path, "n01440764/a.JPEG 0\nwhole.JPEG 7\nval/n01440764/a.JPEG 0\n")
    assert error.where == f"{path}:3"
    assert f"named before, in {path}:1" in error.what


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but words\n"])
def test_no_image_at_all(path: Path, content: str) -> None:
    error = refusal(path, content)
    assert (error.where, error.what) == (str(path), "the manifest names no image")


def test_a_manifest_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=reason) as caught:
            read_manifest(path, "imagenet", LISTING)
        assert caught.value.where == str(path) and "relative to the recipe" in caught.value.hint


def test_where_labels_do_not_matter_a_fifth_may_differ(tmp_path: Path) -> None:
    listing = [Item(f"{n}.png", n) for n in range(10)]
    path = tmp_path / "m.txt"

    def write(wrong: int) -> None:
        path.write_text("".join(f"{n}.png {n + (n < wrong)}\n" for n in range(10)))

    write(2)
    lines = read_manifest(path, "test", listing, labels_matter=False)
    assert [line.item for line in lines] == listing
    assert [line.agrees for line in lines] == [False] * 2 + [True] * 8
    with pytest.raises(StageError, match="label 1 for"):
        read_manifest(path, "test", listing)
    write(3)
    with pytest.raises(StageError, match="label 1 for"):
        read_manifest(path, "test", listing, labels_matter=False)
