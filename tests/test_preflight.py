"""What a run lacks is what it would use, and nothing else."""

from pathlib import Path

import pytest

from pipeline.job import make_job
from pipeline.preflight import find_missing
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
