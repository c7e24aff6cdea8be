"""Reports of the project's own writer, of a real run of the tiny model, to be changed at will."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.regression.gate import run_gate
from pipeline.regression.result import GateResult


@dataclass(frozen=True)
class Desk:
    """A folder with a report and the baseline that was accepted from it."""

    folder: Path
    original: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def baseline(self) -> Path:
        return self.folder / "tiny.json"

    def write(self, change: Callable[[Any], None] | None = None) -> Path:
        """Write the report, changed."""
        data = copy.deepcopy(self.original)
        if change is not None:
            change(data)
        self.report.write_text(json.dumps(data))
        return self.report

    def gate(self, change: Callable[[Any], None] | None = None, **options: Any) -> GateResult:
        """What the gate says of the changed report."""
        options = {"variables": {}, **options}
        return run_gate(self.write(change), self.baseline, **options)


def in_stage(name: str, /, **changes: Any) -> Callable[[Any], None]:
    """A change of a stage: of `seconds`, of its artifact's `sha256` and `bytes`, or of its check."""

    def change(report: Any) -> None:
        stage = next(stage for stage in report["stages"] if stage["name"] == name)
        for key, value in changes.items():
            owner = next(part for part in (stage, stage["artifact"], stage["check"]) if key in part)
            owner[key] = value(owner[key]) if callable(value) else value

    return change


def both(*changes: Callable[[Any], None]) -> Callable[[Any], None]:
    """All these changes, one after another."""

    def change(report: Any) -> None:
        for each in changes:
            each(report)

    return change


@pytest.fixture(scope="session")
def changes() -> tuple[Any, Any]:
    """`in_stage` and `both`, because test files cannot import them."""
    return in_stage, both


@pytest.fixture(scope="session")
def run_report(first_run: Any) -> dict[str, Any]:
    setting, done = first_run
    assert done.code == 0, done.err
    report: dict[str, Any] = setting.report()
    return report


@pytest.fixture
def desk(run_report: dict[str, Any], tmp_path: Path) -> Desk:
    made = Desk(tmp_path, run_report)
    made.gate(accept_it=True)
    return made
