"""Stand-ins for the toolkit and the container engines, put on a PATH that has nothing else."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

IMAGE = "ghcr.io/synaptics-synap/toolkit:3.2.0"
IMAGE_ID = "sha256:5ca1ab1e"
STAND_IN = Path(__file__).parent / "stand_in"


@dataclass(frozen=True)
class StandIns:
    """The PATH of a test and what is on it."""

    bin: Path
    state: Path
    monkeypatch: pytest.MonkeyPatch

    def converter(self, name: str = "synap_convert") -> Path:
        """Put the stand-in converter on the PATH."""
        return self._script(name, STAND_IN / "synap_convert.py")

    def engine(self, name: str, *, image: str | None = IMAGE) -> Path:
        """Put a stand-in container engine on the PATH, with an image or without."""
        (self.state / "images").write_text(f"{image} {IMAGE_ID}\n" if image else "")
        return self._script(name, STAND_IN / "engine.py")

    def fail(self, how: str) -> None:
        """Make the converter fail in this way."""
        self.monkeypatch.setenv("SYNAP_STAND_IN", how)

    def fail_engine(self, how: str) -> None:
        """Make the engines fail in this way."""
        self.monkeypatch.setenv("SYNAP_STAND_IN_ENGINE", how)

    def remembered_pids(self) -> list[int]:
        """The processes that the converter left for the test to look at."""
        path = self.state / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def _script(self, name: str, program: Path) -> Path:
        path = self.bin / name
        path.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(program))} "$@"\n'
        )
        path.chmod(0o755)
        return path


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """An empty PATH of the test's own."""
    made = StandIns(tmp_path / "bin", tmp_path / "state", monkeypatch)
    made.bin.mkdir()
    made.state.mkdir()
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setenv("SYNAP_STAND_IN_STATE", str(made.state))
    for name in [name for name in os.environ if name.startswith("SYNAP_STAND_IN_E")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SYNAP_STAND_IN", raising=False)
    return made
