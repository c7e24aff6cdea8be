import json
from pathlib import Path

import pytest

from pipeline.data.class_list import labels_of_names, read_class_list
from pipeline.errors import StageError

LINES = Path("labels.txt")


def test_no_list(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("a\n")
    assert read_class_list(tmp_path) is None


@pytest.mark.parametrize("name", ["labels.txt", "classes.txt"])
def test_a_class_a_line_in_order(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("\ufeffzebra\r\nBär \nape\n\n".encode())
    assert read_class_list(tmp_path) == (tmp_path / name, ("zebra", "Bär", "ape"))


def test_the_form_of_synaps_runtime(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text(json.dumps({"labels": ["b", " a"], "more": 1}))
    assert read_class_list(tmp_path) == (tmp_path / "info.json", ("b", "a"))


def test_two_lists_must_agree(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "info.json").write_text('{"labels": ["a", "b"]}')
    found = read_class_list(tmp_path)
    assert found is not None and found[1] == ("a", "b")
    (tmp_path / "info.json").write_text('{"labels": ["b", "a"]}')
    with pytest.raises(StageError, match="different classes or another order"):
        read_class_list(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", b""),
        ("labels.txt", b" \n\n"),
        ("labels.txt", b"a\n\nb\n"),
        ("labels.txt", b"\xff\xfe\x00a"),
        ("info.json", b""),
        ("info.json", b"["),
        ("info.json", b"[" * 100_000),
        ("info.json", b"[1]"),
        ("info.json", b"3"),
        ("info.json", b"{}"),
        ("info.json", b'{"labels": "abc"}'),
        ("info.json", b'{"labels": [1]}'),
        ("info.json", b'{"labels": []}'),
        ("info.json", b'{"labels": ["a", ""]}'),
    ],
)
def test_malformed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError) as caught:
        read_class_list(tmp_path)
    assert caught.value.where == str(tmp_path / name)


def test_a_line_belongs_to_the_folder_of_its_name_or_its_first_word() -> None:
    classes = ("background", "n01 tench, Tinca", "n02\tgoldfish", "great white shark")
    names = ["n02", "great white shark", "n01", "n99"]
    assert labels_of_names(names, LINES, classes) == {
        "n02": 2, "great white shark": 3, "n01": 1, "n99": None,
    }  # fmt: skip


def test_the_whole_line_goes_before_the_first_word() -> None:
    assert labels_of_names(["crane", "crane bird"], LINES, ("crane bird", "crane")) == {
        "crane": 1,
        "crane bird": 0,
    }


def test_a_folder_of_two_lines_and_a_line_of_two_folders() -> None:
    with pytest.raises(StageError, match=r"may be class 0 .* or class 1"):
        labels_of_names(["crane"], LINES, ("crane bird", "crane machine"))
    with pytest.raises(StageError, match="are both class 0"):
        labels_of_names(["crane", "crane bird"], LINES, ("crane bird",))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("info.json", r'{"labels": ["a", "\ud800"]}', r"class 1 .* UTF-8 cannot write: '\\ud800'"),
        ("info.json", r'{"labels": ["a\nb", "c"]}', r"class 0 .* control character.*: 'a\\nb'"),
        ("labels.txt", "a\nb\x1b[2J\n", r"class 1 .* control character.*: 'b\\x1b\[2J'"),
        ("labels.txt", "a\rb\n", r"class 0 .* control character.*: 'a\\rb'"),
    ],
)
def test_a_name_that_a_label_file_cannot_hold(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    with pytest.raises(StageError, match=said) as caught:
        read_class_list(tmp_path)
    assert caught.value.where == str(tmp_path / name)


def test_a_tab_may_stand_between_words(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("n01\ttench\n")
    assert read_class_list(tmp_path) == (tmp_path / "labels.txt", ("n01\ttench",))
