"""Kept batches: found again by what they depend on, and never half."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.board.board import Board
from pipeline.board.kept import Kept
from pipeline.errors import StageError

CROPS = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
BATCH = (np.arange(8, dtype=np.float32).reshape(2, 4), np.array([1.5, 2.5]))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path, said: list[str]) -> Kept:
    return Kept(tmp_path / "keep", Board("board"), "ab" * 32, 4, said.append)


def test_what_is_kept_is_found(kept: Kept, said: list[str]) -> None:
    path = kept.path(6, CROPS)
    assert kept.load(path, 2) is None
    kept.save(path, BATCH)
    found = kept.load(path, 2)
    assert found is not None
    np.testing.assert_array_equal(found[0], BATCH[0])
    np.testing.assert_array_equal(found[1], BATCH[1])
    assert [p.name for p in kept.folder.iterdir()] == [path.name]
    assert said == []


def test_everything_that_the_result_depends_on_makes_another_name(kept: Kept) -> None:
    other = CROPS.copy()
    other[1, 2, 2, 2] += 1
    paths = [
        kept.path(6, CROPS),
        kept.path(0, CROPS),
        kept.path(6, other),
        kept.path(6, CROPS.reshape(1, 6, 3, 3)),
        *(
            replace(kept, **change).path(6, CROPS)  # type: ignore[arg-type]
            for change in (
                {"model_sha256": "cd" * 32},
                {"classes": 5},
                {"board": Board("other")},
                {"board": Board("board", port=23)},
                {"board": Board("board", command="/bin/synap_cli_ic")},
            )
        ),
    ]
    assert len(set(paths)) == len(paths)
    # How patient the caller is does not matter.
    patient = replace(kept, board=Board("board", timeout=1.0, attempts=9))
    assert patient.path(6, CROPS) == paths[0]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other", "text", "object"])
def test_damaged_files_are_run_again(kept: Kept, said: list[str], damage: str) -> None:
    path = kept.path(0, CROPS)
    kept.save(path, BATCH)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        at = data.index(BATCH[0].tobytes())
        path.write_bytes(data[:at] + b"\x7f" + data[at + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        np.savez(path, logits=BATCH[0])
    elif damage == "text":
        path.write_text("not an archive")
    else:
        np.savez(path, logits=np.array([{}], dtype=object), milliseconds=BATCH[1])
    assert kept.load(path, 2) is None
    assert len(said) == 1 and str(path) in said[0] and "run again" in said[0]


@pytest.mark.parametrize(
    "batch",
    [
        (BATCH[0][:1], BATCH[1]),
        (BATCH[0][:, :3], BATCH[1]),
        (BATCH[0].astype(np.float64), BATCH[1]),
        (BATCH[0], BATCH[1][:1]),
    ],
)
def test_files_of_another_form_are_run_again(
    kept: Kept, said: list[str], batch: tuple[np.ndarray, np.ndarray]
) -> None:
    path = kept.path(0, CROPS)
    kept.folder.mkdir()
    np.savez(path, logits=batch[0], milliseconds=batch[1])
    assert kept.load(path, 2) is None
    assert "not what was kept" in said[0]


def test_a_folder_that_cannot_be_written(kept: Kept) -> None:
    kept.folder.write_text("a file")
    with pytest.raises(StageError, match="exists"):
        kept.save(kept.path(0, CROPS), BATCH)
