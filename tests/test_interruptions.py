"""Ctrl-C and kill -9 in the middle of every stage: nothing half made stays, and the same command
finishes what is left. The command line is the real one, and so are the signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).parent / "synap" / "stand_in" / "synap_convert.py"
MESSAGE = "error: interrupted; finished stages are kept, and the same command makes the rest\n"
KINDS = ["ranges", "quantize", "compile", "outputs", "export", "weights"]


def kinds(*slow: str) -> list[Any]:
    """All kinds of entries; PyTorch makes those that are slow."""
    return [pytest.param(kind, marks=[pytest.mark.slow] * (kind in slow)) for kind in KINDS]


ATTEMPTS = 5


def start(setting: Any, lab: Any, *words: str, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        setting.command("run", "--threads", "2", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=lab.environment(**env),
    )


def building(folder: Path) -> bool:
    """Whether an entry of this kind is just being made."""
    return (
        any(name.endswith(".partial") for name in os.listdir(folder)) if folder.is_dir() else False
    )


def struck(setting: Any, lab: Any, kind: str, number: signal.Signals) -> tuple[int, str]:
    """Exit code and stderr of a run that gets a signal while it makes an entry of this kind.

    On a busy machine the entry may be finished before the signal is out; then it is made again.
    """
    for _ in range(ATTEMPTS):
        # Ranges are not made for a stage that is there.
        for lost in (kind, "quantize") if kind == "ranges" else (kind,):
            shutil.rmtree(setting.store / lost, ignore_errors=True)
        process = start(setting, lab)
        deadline = time.monotonic() + 120
        while process.poll() is None and not building(setting.store / kind):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        if process.returncode != 0:
            return process.returncode, err
    raise AssertionError(f"the run was faster than the signal {ATTEMPTS} times")


@pytest.mark.parametrize("kind", kinds("outputs", "export"))
def test_ctrl_c(made: Any, lab: Any, kind: str) -> None:
    reports = made.artifacts / "tiny"
    before = {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()}
    code, err = struck(made, lab, kind, signal.SIGINT)
    assert code == 130, err
    assert err.endswith(MESSAGE)
    assert "Traceback" not in err
    assert made.half_made() == []
    after = {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()}
    assert after == before, "results of earlier runs stay as they were"
    finished(made, kind)


def finished(setting: Any, kind: str) -> None:
    """The same command once more: everything is there, and only what was missing was made."""
    before = {stage["name"]: stage["artifact"]["sha256"] for stage in setting.report()["stages"]}
    done = setting.run()
    assert done.code == 0, done.err
    assert setting.half_made() == []
    report = setting.report()
    assert report["verdict"] == "PASS"
    assert {s["name"]: s["artifact"]["sha256"] for s in report["stages"]} == before
    again = {stage["name"] for stage in report["stages"] if not stage["cached"]}
    assert again == {"outputs": set(), "ranges": {"quantize"}}.get(kind, {kind})


@pytest.mark.parametrize("kind", kinds("outputs", "export", "weights"))
def test_kill(made: Any, lab: Any, kind: str) -> None:
    code, err = struck(made, lab, kind, signal.SIGKILL)
    assert code == -signal.SIGKILL, err
    assert made.half_made() != [], "the test is about what a killed run leaves behind"
    finished(made, kind)


@pytest.fixture
def hanging(made: Any, lab: Any, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A run for the NPU whose toolkit, a test double, never ends."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "synap_convert"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{STAND_IN}' \"$@\"\n")
    program.chmod(0o755)
    env = {
        "PATH": str(folder),
        "SYNAP_STAND_IN": "hang",
        "SYNAP_STAND_IN_STATE": str(tmp_path),
    }
    running: list[subprocess.Popen[str]] = []

    def begin() -> Any:
        running.append(start(made, lab, "--set", "compile.delegate=npu", **env))
        return running[-1]

    yield begin
    for process in running:
        process.kill()


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_ctrl_c_while_the_toolkit_runs(made: Any, hanging: Any, tmp_path: Path) -> None:
    process = hanging()
    pids = tmp_path / "pids"
    deadline = time.monotonic() + 120
    while not pids.exists() or len(pids.read_text().split()) < 2:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.endswith(MESSAGE)) == (130, True), err
    assert made.half_made() == []
    left = [int(pid) for pid in pids.read_text().split()]
    deadline = time.monotonic() + 10
    while any(map(alive, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, left)), "the toolkit goes on although nobody waits for it"


def test_two_runs_at_once(made: Any, lab: Any) -> None:
    for kind in ("ranges", "quantize", "compile", "outputs", "verdicts"):
        shutil.rmtree(made.store / kind)
    shutil.rmtree(made.artifacts / "tiny")
    runs = [start(made, lab, "--json") for _ in range(2)]
    answers = [process.communicate(timeout=300) for process in runs]
    assert [process.returncode for process in runs] == [0, 0], answers
    assert made.half_made() == []
    reports = [json.loads(out) for out, _ in answers]

    def told(report: Any) -> Any:
        return [(s["name"], s["artifact"], s["check"]) for s in report["stages"]]

    for one, other in zip(*reports, strict=True):
        assert told(one) == told(other)
    for name in ("quantize", "compile"):
        made_by = [
            not stage["cached"]
            for reports_of_run in reports
            for stage in reports_of_run[0]["stages"]
            if stage["name"] == name
        ]
        assert sum(made_by) == 1, f"{name} was made {sum(made_by)} times"
