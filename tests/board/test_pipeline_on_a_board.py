"""A whole run whose compiled model is checked on a board: a real SSH server, a stand-in program
that runs the CPU bundle."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def on_board(made: Any, server: Any) -> list[str]:
    """The words that give the run this board."""
    board = server.board
    values = {
        "host": board.host, "target": "sl1680", "port": board.port, "user": board.user,
        "identity": str(board.identity), "folder": board.folder, "ssh_config": str(board.config),
        "timeout": 60,
    }  # fmt: skip
    return [word for k, v in values.items() for word in ("--set", f"device.{k}={v}")]


def compiled(made: Any, target: str) -> Any:
    return made.report(target)["stages"][-1]["check"]


def test_the_bundle_is_measured_on_the_board(made: Any, server: Any, on_board: list[str]) -> None:
    before = compiled(made, "sl1680")
    limits = ["--set", "checks.compile.max_latency_ms=20"]
    done = made.run(*on_board, *limits, "--target", "sl1680")
    assert done.code == 0, done.err
    check = compiled(made, "sl1680")
    assert (check["evidence"], check["verdict"]) == ("board", "PASS")
    assert (check["top1"], check["top1_drop"]) == (before["top1"], before["top1_drop"])
    assert 2.5 <= check["latency_ms"] <= 6.5
    assert server.left_behind == []
    calls = len(server.calls)
    assert sum(map(len, server.calls)) == check["images"]
    assert made.run(*on_board, *limits, "--target", "sl1680").code == 0
    assert len(server.calls) == calls  # kept in the store


def test_a_board_of_one_target_does_not_judge_the_other(
    made: Any, server: Any, on_board: list[str]
) -> None:
    assert made.run(*on_board).code == 0
    evidence = {target: compiled(made, target)["evidence"] for target in ("sl1680", "sl1640")}
    assert evidence == {"sl1680": "board", "sl1640": "measured"}


def test_a_model_that_is_too_slow_fails(made: Any, on_board: list[str]) -> None:
    done = made.run(*on_board, "--target", "sl1680", "--set", "checks.compile.max_latency_ms=0.5")
    assert done.code == 1
    check = compiled(made, "sl1680")
    assert check["verdict"] == "FAIL"
    assert "is beyond 0.5" in check["reason"]


def test_a_board_that_cannot_be_reached_ends_that_target(
    made: Any, server: Any, on_board: list[str]
) -> None:
    server.stop()
    done = made.run(*on_board)
    assert done.code == 3
    assert "sl1680: " in done.err and "Traceback" not in done.err
    assert made.report("sl1640")["verdict"] == "PASS"


def test_a_latency_without_a_board_is_skipped_and_fails_the_run(made: Any) -> None:
    done = made.run("--set", "checks.compile.max_latency_ms=20")
    assert done.code == 1
    check = compiled(made, "sl1680")
    assert check["verdict"] == "SKIPPED"
    assert "no board of this target measured the latency" in check["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["device.host=-oProxyCommand=x", "device.target=sl1680"], "device.host"),
        (["device.host=b", "device.target=sl9999"], "unknown target"),
        (["checks.quantize.max_latency_ms=3"], "not run on a board"),
    ],
)
def test_words_that_cannot_be(made: Any, words: list[str], said: str, tmp_path: Path) -> None:
    done = made.run(*(part for word in words for part in ("--set", word)))
    assert done.code == 2
    assert said in done.err and "Traceback" not in done.err
