"""Digests and atomic writes."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact import (
    atomic_path,
    canonical_json,
    digest_of_data,
    digest_of_path,
    publish,
    size_of_path,
    write_text,
)


def test_a_files_digest_is_sha256_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert digest_of_path(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert size_of_path(path) == 3


def test_a_folders_digest_goes_by_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ("b", "a", "sub/c")), (two, ("sub/c", "a", "b"))):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"content of {name}")
    expected = "".join(
        f"{hashlib.sha256(f'content of {name}'.encode()).hexdigest()}  {name}\n"
        for name in ("a", "b", "sub/c")
    )
    assert digest_of_path(one) == hashlib.sha256(expected.encode()).hexdigest()
    assert digest_of_path(two) == digest_of_path(one)
    assert size_of_path(one) == len("content of a") * 2 + len("content of sub/c")
    (two / "a").rename(two / "d")
    assert digest_of_path(two) != digest_of_path(one)


def test_equal_data_has_equal_digests() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"d": "é", "c": True}}) == (
        '{"a":{"c":true,"d":"\\u00e9"},"b":[1,2.5,null]}'
    )
    assert digest_of_data({"a": 1, "b": 2}) == digest_of_data({"b": 2, "a": 1})
    assert digest_of_data({"a": [1, 2]}) != digest_of_data({"a": [2, 1]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of_data({"a": value})


@given(
    st.dictionaries(
        st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False) | st.text()
    )
)
def test_the_order_of_keys_does_not_matter(data: dict[str, object]) -> None:
    assert digest_of_data(dict(reversed(data.items()))) == digest_of_data(data)


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_text(path, "first")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the sec")
            assert path.read_text() == "first"
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        fail()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file"]
    write_text(path, "second")
    assert path.read_text() == "second"
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_publish_copies(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "results" / "model.synap"
    source.write_bytes(b"\x00" * 1000)
    publish(source, path)
    path.write_bytes(b"changed")
    assert source.read_bytes() == b"\x00" * 1000, "the store's own file must not be shared"
