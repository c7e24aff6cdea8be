"""What people see: the table, from results made by hand, and bars, on a real pseudo-terminal."""

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact
from pipeline.check.result import Check
from pipeline.engine import StageResult, TargetResult
from pipeline.report import bars
from pipeline.report.terminal import Terminal, print_results
from pipeline.targets import load_target

CHECK = Check(
    images=600, top1=0.9512, top5=0.99, top1_drop=0.0051, step_drop=-0.001, agreement=0.985,
    sqnr_db=31.25, max_logit_error=0.5, confidence_interval=(-0.001, 0.011), required=True,
    evidence="measured", verdict="PASS", reason="drop 0.51 points",
)  # fmt: skip
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def stage(name: str, cached: bool = False, size: int = 43_000_000, **check: Any) -> StageResult:
    artifact = Artifact(Path("/results/.store/x/model.onnx"), "onnx", "a" * 64, size)
    return StageResult(name, cached, 12.345, 800.5, artifact, replace(CHECK, **check), {}, {})


def printed(
    capsys: Any, results: Any, bundles: Any = (), fallback: str = "", *, computed: bool = True
) -> str:
    print_results(results, bundles, [], fallback, computed=computed)
    out: str = capsys.readouterr().out
    return out


def test_the_table(capsys: Any) -> None:
    common = (stage("weights", top1_drop=None, step_drop=None, agreement=None, sqnr_db=None),
              stage("quantize", verdict="UNDECIDED", reason="600 images do not suffice"))  # fmt: skip
    results = [
        TargetResult(load_target("sl1640"), (*common, stage("compile", size=4_300))),
        TargetResult(load_target("sl1680"), (*common, stage("compile", evidence="predicted"))),
    ]
    path = Path("/results/demo/sl1640/model.synap")
    text = printed(capsys, results, [(path, "CPU bundle, not an NPU build")], "no toolkit")
    lines = text.splitlines()
    rows = [" ".join(line.split()) for line in lines]
    assert rows[0] == "stage top-1 drop step agree SQNR verdict size time"
    assert rows[1] == "weights 95.12% - - - - PASS 43.0 MB 12.3 s"
    assert rows[2] == "quantize 95.12% +0.51 -0.10 98.50% 31.2 UNDECIDED 43.0 MB 12.3 s"
    assert rows[3] == "compile sl1640 95.12% +0.51 -0.10 98.50% 31.2 PASS 4.3 kB 12.3 s"
    assert rows[4].startswith("compile sl1680") and "PASS (predicted)" in rows[4]
    assert sum(row.startswith("quantize ") for row in rows) == 1, "what is shared stands there once"
    assert "quantize: UNDECIDED: 600 images do not suffice" in lines
    assert "600 evaluation images; drops in points, SQNR in dB" in rows
    assert "compile: fell back to the CPU delegate: no toolkit" in lines
    assert f"{path}  (UNDECIDED; CPU bundle, not an NPU build)" in lines
    assert "Nothing was computed" not in text


WIDE: dict[str, Any] = {
    "top1": 1.0, "top1_drop": -0.1234, "step_drop": -0.1234, "agreement": 1.0, "sqnr_db": 111.74,
}  # fmt: skip
"""As wide as results of a model that works become."""


def test_the_table_has_room_in_80_columns(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    slow = {"seconds": 5000.0}
    results = [
        TargetResult(
            load_target("sl1640"),
            (
                replace(stage("weights", size=165_000_000, **WIDE), **slow),
                replace(stage("equalize", size=987_600_000, verdict="UNDECIDED", **WIDE), **slow),
                replace(stage("lower", **WIDE), artifact=None),
                replace(
                    stage("compile", size=987_600_000, evidence="predicted", **WIDE),
                    seconds=44_000.0,
                ),
            ),
        )
    ]
    table = ANSI.sub("", printed(capsys, results)).splitlines()[:7]
    shown = "\n".join(table)
    for word in ("compile sl1640", "PASS", "(predicted)", "UNDECIDED", "SKIPPED", "987.6 MB",
                 "12.2 h", "83.3 min", "111.7", "100.00%", "-12.34"):  # fmt: skip
        assert word in shown, word
    assert "…" not in shown
    assert max(map(len, table)) <= 80, shown
    assert table[-1].startswith("600 evaluation"), "a row too many"


def test_stages_that_took_other_numbers_of_images(capsys: Any) -> None:
    some = stage("weights", images=128), stage("export", images=128), stage("quantize", images=880)
    assert (
        "evaluation images: 128 for weights, export, 880 for quantize; compare drops there, not top-1;"
        " drops in points"
    ) in printed(capsys, [TargetResult(None, some)])
    skipped = replace(stage("export", images=0), artifact=None)
    assert "no evaluation images;" in printed(capsys, [TargetResult(None, (skipped,))])


NOT_COMPARED: dict[str, Any] = {
    "top1_drop": None, "step_drop": None, "agreement": None, "sqnr_db": None,
}  # fmt: skip


def test_only_columns_with_something_in_them_are_explained(capsys: Any) -> None:
    alone = stage("lower", **NOT_COMPARED)
    text = printed(capsys, [TargetResult(None, (alone,))])
    assert "600 evaluation images\n" in text
    assert "float export" not in text and "stage before" not in text
    followed = stage("compile", **{**NOT_COMPARED, "agreement": 1.0})
    text = printed(capsys, [TargetResult(load_target("sl1680"), (alone, followed))])
    assert "drops in points, SQNR in dB\nstep, agree and SQNR against the stage before\n" in text
    assert "float export" not in text


def test_bundles_of_a_run_that_failed_are_marked(capsys: Any) -> None:
    results = [
        TargetResult(load_target("sl1640"), (stage("compile", verdict="FAIL"),)),
        TargetResult(load_target("sl1680"), (stage("compile", verdict="FAIL", required=False),)),
    ]
    paths = [Path(f"/results/demo/{target}/model.synap") for target in ("sl1640", "sl1680")]
    lines = printed(capsys, results, [(paths[0], "a notice"), (paths[1], "")]).splitlines()
    assert lines[-2:] == [f"{paths[0]}  (FAIL; a notice)", str(paths[1])]


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (-0.01, "1.00 points gained, between -1.00 and 3.00, each end at 95 %"),
        (0.02, "2.00 points lost, between -1.00 and 5.00, each end at 95 %"),
    ],
)
def test_what_the_boards_view_gains_is_not_lost(capsys: Any, gap: float, said: str) -> None:
    ends = [gap - (0.02 if gap < 0 else 0.03), gap + (0.02 if gap < 0 else 0.03)]
    view = {"top1": 0.9, "gap": gap, "confidence_interval": ends, "confidence": 0.95}
    seen = replace(stage("compile"), details={"device_view": view})
    assert f"top-1 is 90.00 %: {said} (no part" in printed(capsys, [TargetResult(None, (seen,))])


def test_a_model_that_guesses_is_named(capsys: Any) -> None:
    said = "top-1 0.67 % of 300 images is no better than guessing"
    seen = replace(stage("export", required=False), details={"cautions": [said]})
    assert f"export: {said}" in printed(capsys, [TargetResult(None, (seen,))])


def test_nothing_computed(capsys: Any) -> None:
    results = [TargetResult(None, (stage("export", cached=True),))]
    text = printed(capsys, results, computed=False)
    assert "stored" in text
    assert "Nothing was computed: everything was in the store." in text
    # Stages that were stored, evaluated on new images.
    assert "Nothing was computed" not in printed(capsys, results, computed=True)


def test_what_is_only_reported(capsys: Any) -> None:
    text = printed(
        capsys, [TargetResult(None, (stage("export", required=False, verdict="SKIPPED"),))]
    )
    assert "reported" in text and "SKIPPED" not in text


def test_words_in_brackets_are_no_markup(capsys: Any) -> None:
    reason = "drop [bold] of [/images] and :smile:"
    text = printed(capsys, [TargetResult(None, (stage("export", reason=reason),))])
    assert f"export: PASS: {reason}" in text


def test_long_paths_are_not_broken(capsys: Any) -> None:
    path = Path("/" + "a" * 150) / "[1] model.synap"
    text = printed(capsys, [TargetResult(None, (stage("export"),))], [(path, "a notice")])
    assert f"{path}  (a notice)" in text.splitlines()


def test_notes_do_nothing_to_a_terminal(capsys: Any) -> None:
    Terminal().note("a\x1b]0;x\x07.png is broken\n  [second] line")
    assert capsys.readouterr().err == "a\\x1b]0;x\\x07.png is broken\n  [second] line\n"


def test_long_notes_are_not_broken(capsys: Any) -> None:
    note = f"/{'long/' * 40}x.JPEG was changed since it was made; it is made again"
    Terminal().note(note)
    assert capsys.readouterr().err == f"{note}\n"


# Bars

SCRIPT = """
import time
from pipeline.report.terminal import Terminal
terminal = Terminal()
with terminal.bar("quantize", 0):
    with terminal.bar("unpack " + 12 * "a-long-name." + "tar.gz", 8) as bar:
        for _ in range(8):
            time.sleep(0.15)
            bar.advance()
        terminal.note("a note of [brackets]")
    with terminal.bar("the next", 2):
        time.sleep(0.15)
"""


def environment(**changes: str) -> dict[str, str]:
    unset = ("CI", "NO_COLOR", "FORCE_COLOR", "TERM", "TTY_INTERACTIVE", "TTY_COMPATIBLE")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color", **changes}


def on_a_terminal(**changes: str) -> str:
    """What the script writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment(**changes),
        stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way of saying that the other end is closed
                break
            if not part:
                break
            parts.append(part)
        os.close(ours)
    assert process.returncode == 0
    return b"".join(parts).decode()


def test_bars_on_a_terminal() -> None:
    text = on_a_terminal()
    lines = [line for line in re.split("[\r\n]+", ANSI.sub("", text)) if line.strip()]
    assert max(map(len, lines)) <= 80
    inner = [line for line in lines if line.startswith("unpack a-long-name.")]
    assert any(re.search(r"… .*━.* \d+% 0:00:0\d 0:00:0\d left", line) for line in inner), inner
    # The outer stands above the inner, and its length is not known.
    place = lines.index(inner[-1])
    assert re.match(r"quantize +━.* 0:00:0\d +$", lines[place - 1]), lines[place - 1]
    assert any(line.startswith("the next") for line in lines)
    assert "a note of [brackets]" in lines
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is back"


def test_bars_without_colours() -> None:
    text = on_a_terminal(NO_COLOR="1")
    assert "━" in text and "left" in text
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|9[0-7])[0-9;]*m", text)


@pytest.mark.parametrize(
    "environment",
    [{"CI": "true"}, {"CI": "1"}, {"TERM": "dumb"}],
    ids=lambda e: "".join(*e.items()),
)
def test_no_bars_where_nobody_watches(environment: dict[str, str]) -> None:
    assert ANSI.sub("", on_a_terminal(**environment)) == "a note of [brackets]\r\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "a note of [brackets]\n"),
        ({"FORCE_COLOR": "1"}, "\x1b[2ma note of [brackets]\x1b[0m\n"),
    ],
    ids=["plain", "colours are forced"],
)
def test_no_bars_off_a_terminal(changes: dict[str, str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment(**changes), capture_output=True, check=True
    )
    assert done.stdout == b"", "stdout is for results"
    assert done.stderr.decode() == expected


def said_until(capsys: Any, enough: Callable[[str], bool]) -> str:
    """What stands on stderr once it is enough; a minute is too long to wait."""
    text, end = "", time.monotonic() + 60
    while not enough(text) and time.monotonic() < end:
        time.sleep(0.01)
        text += str(capsys.readouterr().err)
    return text


def test_long_work_off_a_terminal_leaves_lines(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(bars, "ALIVE_SECONDS", 0.02)
    terminal = Terminal()
    with terminal.bar("compile sl1680", 0):
        text = said_until(capsys, lambda text: "so far" in text)
        assert re.search(r"^compile sl1680: 0 s so far$", text, re.MULTILINE)
        with terminal.bar("running", 4) as bar:
            bar.advance()
            text = said_until(capsys, lambda text: "25%" in text)
            assert re.search(r"^compile sl1680, running: 25%$", text, re.MULTILINE)
            bar.advance()
            text = said_until(capsys, lambda text: "50%" in text)
            assert re.search(
                r"^compile sl1680, running: 50%, about \d+ s left$", text, re.MULTILINE
            )
        assert "running: 0 s\n" in capsys.readouterr().err
    assert capsys.readouterr().err.endswith("compile sl1680: 0 s\n")


def test_an_error_within_a_bar_closes_it(capsys: Any) -> None:
    terminal = Terminal()
    for _ in range(2):
        with pytest.raises(OSError, match="full"), terminal.bar("a", 0), terminal.bar("b", 3):
            raise OSError("full")
    assert capsys.readouterr().err == ""
