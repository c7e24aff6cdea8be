"""`pipeline subset`: the shipped manifest is what its own command draws."""

import filecmp
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def pipeline(lab: Any) -> Callable[..., Any]:
    return lambda *argv: lab.call([sys.executable, "-m", "pipeline", *map(str, argv)])


def test_the_shipped_manifest_is_drawn_anew(lab: Any, pipeline: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.txt"
    done = pipeline(
        "subset", "--dataset", "imagenet", "--labels", "real", "--images", "1000", "--output", out,
        "--artifacts", tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "1000 images" in done.out
    assert filecmp.cmp(out, lab.REPOSITORY / "calibration" / "imagenet-val-1000.txt", shallow=False)


def test_a_subset_of_folders(pipeline: Any, lab: Any, tmp_path: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            lab.picture(label, number).save(tmp_path / "images" / name / f"{number}.png")
    out = tmp_path / "m.txt"
    words = ["subset", "--dataset", "folder", "--data", tmp_path / "images", "--images", "4"]
    done = pipeline(*words, "--output", out, "--artifacts", tmp_path / "a")
    assert done.code == 0, done.err
    lines = [line for line in out.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 4 and len({line.split()[0] for line in lines}) == 4


@pytest.mark.parametrize(
    ("name", "said"), [("imagenett", "did you mean 'imagenette'?"), ("x", "known:")]
)
def test_an_unknown_dataset(pipeline: Any, tmp_path: Path, name: str, said: str) -> None:
    done = pipeline("subset", "--dataset", name, "--images", "4", "--output", tmp_path / "m.txt")
    assert done.code == 2
    assert said in done.err and "Traceback" not in done.err
