"""A results folder of a real run of the tiny model, its card written, to be changed at will."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.card import write_card


@dataclass(frozen=True)
class Results:
    """`artifacts/tiny/sl1680` and, for what is in its store, all of `artifacts`."""

    folder: Path

    @property
    def card(self) -> Path:
        return self.folder / "README.md"

    @property
    def report(self) -> Any:
        return json.loads((self.folder / "report.json").read_text())

    def change_report(self, change: Callable[[Any], None]) -> None:
        data = copy.deepcopy(self.report)
        change(data)
        (self.folder / "report.json").write_text(json.dumps(data))

    def replace(self, old: str, new: str) -> None:
        """Tamper with the card; `old` has to be in it."""
        text = self.card.read_text(encoding="utf-8")
        assert old in text
        self.card.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def carded(first_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    setting, done = first_run
    assert done.code == 0, done.err
    folder = tmp_path_factory.mktemp("carded") / "artifacts" / "tiny" / "sl1680"
    shutil.copytree(setting.artifacts / "tiny" / "sl1680", folder)
    write_card(folder, 2)
    return folder


@pytest.fixture
def results(carded: Path, tmp_path: Path) -> Results:
    folder = tmp_path / "artifacts" / "tiny" / "sl1680"
    shutil.copytree(carded, folder)
    return Results(folder)
