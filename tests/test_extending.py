"""The additions of docs/extending.md, put into a copy of the package and run.

A comment before a block says where it belongs: `new FILE`, `in FILE before TEXT`, or `in FILE`, where the
block's `...` stands for what is there. The page's text says the same to its readers.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCK = re.compile(
    r"<!-- (new|in) (\S+)(?: before (.+?))? -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


def put(kind: str, file: Path, before: str, block: str) -> None:
    """Write a block of the page to where it belongs."""
    if kind == "new":
        assert not file.exists(), f"{file} exists by now"
        file.write_text(block)
        return
    text = file.read_text()
    if before:
        assert text.count(f"\n{before}") == 1, f"{file} has other than one {before!r}"
        place = text.index(f"\n{before}") + 1
        file.write_text(
            text[:place] + block + ("" if block.startswith("from") else "\n\n") + text[place:]
        )
        return
    head, new = block.rstrip().split("...")
    head, addition, end = head.rstrip(" "), new[:-1], new[-1]
    assert text.count(head) == 1, f"{file} has other than one {head!r}"
    place = text.index(end, text.index(head) + len(head))
    there = text[:place].rstrip().rstrip(",")
    file.write_text(f"{there},{addition.removeprefix(',')}{text[place:]}")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as the page leaves it."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=ignored)
    for kind, name, before, block in BLOCK.findall(PAGE):
        put(kind, folder / name, before, block)
    return folder


def test_every_block_but_the_commands_says_where_it_belongs() -> None:
    assert len(BLOCK.findall(PAGE)) == len(re.findall(r"^```\w+$", PAGE, flags=re.MULTILINE)) - 1


def call(extended: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line of the extended package, whose folder is the current one."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        cwd=extended, text=True, capture_output=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def commands() -> list[list[str]]:
    """The words of the page's commands behind `-m pipeline`."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    start = ".venv/bin/python -m pipeline "
    return [shlex.split(line.removeprefix(start)) for line in block.splitlines()]


def test_the_new_words_are_in_the_schema(extended: Path) -> None:
    done = call(extended, *commands()[0])
    assert done.returncode == 0, done.stderr
    parts = json.loads(done.stdout)["$defs"]
    assert "deviations" in parts["Ranges"]["properties"]["rule"]["enum"]
    assert "random" in parts["Model"]["properties"]["source"]["enum"]
    assert "listed" in parts["Draw"]["properties"]["dataset"]["enum"]


@pytest.mark.slow
def test_all_four_at_once(extended: Path, lab: Any) -> None:
    lab.write_images(extended / "photos" / "pictures", per_class=5)
    rows = [
        (f"pictures/{synset}_{number}.JPEG", label)
        for label, synset in enumerate(lab.SYNSETS)
        for number in range(5)
    ]
    with (extended / "photos" / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = call(extended, *commands()[1], "--json")
    assert done.returncode == 0, done.stderr
    assert "test_resnet has random weights: its accuracy means nothing" in done.stderr
    report = json.loads(done.stdout)
    assert report["target"] == "sl1620"
    (compiled,) = (stage for stage in report["stages"] if stage["name"] == "compile")
    assert compiled["check"]["images"] == 30
    assert (extended / "artifacts" / "random" / "sl1620" / "model.synap").is_file()
    (plan,) = (extended / "artifacts" / ".store" / "quantize").glob("*/plan.json")
    sources = {tensor["source"] for tensor in json.loads(plan.read_text())["activations"].values()}
    assert "deviations" in sources


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg,cat", "a.jpg,-1"])
def test_the_new_dataset_says_what_is_wrong(extended: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "images.csv").write_text(f"b.jpg,0\n{line}\n")
    done = call(extended, "plan", "random.yaml", "--data", tmp_path)
    assert done.returncode == 3
    assert f"{tmp_path}/images.csv:2: is no path and class" in done.stderr


def test_the_new_source_refuses_weights(extended: Path, tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("a.jpg,0\n")
    done = call(extended, "run", "random.yaml", "--data", tmp_path, "--weights", "random.yaml")
    assert done.returncode == 2
    assert "source 'random' takes no weights" in done.stderr
