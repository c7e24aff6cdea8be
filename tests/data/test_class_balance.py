from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.class_balance import STRONG, uneven_classes
from pipeline.data.digest_index import DigestIndex
from pipeline.data.draw import SampleSets, draw_samples
from pipeline.data.samples import Sample
from pipeline.errors import StageError
from pipeline.progress import Silent
from pipeline.recipe import Data


def samples(*counts: int) -> list[Sample]:
    return [
        Sample(f"{label}/{n}", label, f"{label}-{n}")
        for label, count in enumerate(counts)
        for n in range(count)
    ]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_it_is_said_exactly_when_it_is_so(counts: list[int]) -> None:
    said = uneven_classes(samples(*counts), len(counts))
    there = [count for count in counts if count]
    strong = bool(there) and max(there) > STRONG * min(there)
    assert len(said) == (0 in counts) + strong
    if 0 in counts:
        assert said[0] == f"only {len(there)} of {len(counts)} classes have images"
    if strong:
        assert f"{max(there)} images" in said[-1] and said[-1].endswith(f"has {min(there)}")


def drawn(folder: Path, **options: str) -> SampleSets:
    data = Data.model_validate(
        {
            "calibration": {"dataset": "folder", "images": 1},
            "evaluation": {"dataset": "folder"},
            **options,
        }
    )
    return draw_samples(data, folder, folder, DigestIndex(folder.parent / "i.json"), Silent())


@pytest.fixture
def uneven(folder: Path, write: object) -> Path:
    assert callable(write)
    for number in range(14):
        write(f"{'b' if number else 'a'}/{number}.png", number)
    (folder / "labels.txt").write_text("a\nb\nc\n")
    return folder


def test_accepted_it_is_said(uneven: Path) -> None:
    notes = drawn(uneven, uneven_classes="accept").notes
    assert any("evaluation: only" in note and "of 3 classes have images" in note for note in notes)


def test_else_it_stops(uneven: Path) -> None:
    with pytest.raises(StageError, match="of 3 classes have images") as caught:
        drawn(uneven)
    assert caught.value.where == "data.evaluation"
    assert "uneven_classes: accept" in caught.value.hint
