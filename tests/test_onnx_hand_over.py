"""`compile.handoff: onnx` on the command line: the toolkit, a test double, quantizes by itself, and
a replay of its own table predicts the model's accuracy."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).parent / "synap" / "stand_in" / "synap_convert.py"
ONNX = [
    "--set", "compile.delegate=npu", "--set", "compile.handoff=onnx",
    "--set", "checks.compile.accept=predicted",
]  # fmt: skip


@pytest.fixture
def run(made: Any, lab: Any, tmp_path: Path) -> Any:
    """`run(changes)`: the command line with a double that leaves a table changed so."""
    program = tmp_path / "bin" / "synap_convert"
    program.parent.mkdir()
    double = f"{shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))}"
    program.write_text(f'#!/bin/sh\nexec {double} "$@"\n')
    program.chmod(0o755)

    def call(changes: Any) -> Any:
        environment = {"PATH": str(program.parent), "SYNAP_STAND_IN_TABLE": json.dumps(changes)}
        return lab.call(made.command("run", "--target", "sl1680", *ONNX), **environment)

    return call


@pytest.mark.slow
def test_the_toolkits_own_quantization_predicts(made: Any, run: Any) -> None:
    done = run({})
    assert done.code == 0, done.err
    check = made.report()["stages"][-1]["check"]
    assert (check["verdict"], check["evidence"]) == ("PASS", "predicted")
    # Its steps are the toolkit's own, not those of our quantization, with which it is compared.
    assert 10 < check["sqnr_db"] < 60


@pytest.mark.slow
def test_ranges_that_ruin_the_model_are_seen(made: Any, run: Any) -> None:
    done = run({"given": {"relu2:out0": {"scale": 50.0, "zero_point": 0}}})
    assert done.code == 1, done.err
    check = made.report()["stages"][-1]["check"]
    assert (check["verdict"], check["evidence"]) == ("FAIL", "predicted")
    assert check["top1_drop"] > 0.2


@pytest.mark.slow
def test_without_a_replay_the_check_is_skipped_for_that_reason(made: Any, run: Any) -> None:
    done = run({"drop": ["relu1:out0"]})
    assert done.code == 1, done.err
    check = made.report()["stages"][-1]["check"]
    assert (check["verdict"], check["evidence"]) == ("SKIPPED", "predicted")
    assert check["reason"] == (
        "the toolkit's own quantization cannot be replayed: the table has no entry for: relu1"
    )
    assert check["top1"] is None
    assert (made.artifacts / "tiny" / "sl1680" / "model.synap").is_file()
