"""What a run lacks is what it would use, and nothing else."""

import os
import tempfile
from pathlib import Path

import pytest

from pipeline.job import make_job
from pipeline.preflight import _disk, find_missing
from pipeline.synap.handover import Handover

BOARD = ("device.host=board", "device.target=sl1680")


@pytest.mark.parametrize(
    ("target", "until", "wanted"),
    [("sl1680", None, True), ("all", None, True), ("sl1640", None, False), ("all", "lower", False)],
)
def test_ssh_is_needed_where_a_board_is_used(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    until: str | None,
    wanted: bool,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = make_job(tiny / "tiny.yaml", target, until, BOARD, None, None, tmp_path / "a", 1)
    missing = [thing.what for thing in find_missing(job, Handover("cpu"), has_weights=False)]
    assert missing == (["the OpenSSH client, which the recipe's device needs"] if wanted else [])


def test_results_below_a_folder_that_may_not_be_entered() -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        outer.chmod(0o755)
        locked = outer / "locked"
        locked.mkdir()
        locked.chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            _disk(locked / "inner" / "artifacts")
        finally:
            if user == 0:
                os.seteuid(0)
            locked.chmod(0o700)
