"""Reading a whole file, or saying why not."""

from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.inspect.content import MAX_BYTES, read_content


def test_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 1_000)
    assert read_content(path) == path.read_bytes()
    path.write_bytes(b"")
    assert read_content(path) == b""


def test_not_too_much_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(StageError, match="are more than a model file can have"):
        read_content(path)


def test_none_of_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cannot be read"):
        read_content(tmp_path / "none")
    with pytest.raises(StageError, match="cannot be read"):
        read_content(tmp_path)
