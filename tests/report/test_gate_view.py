"""The gate's outcome as people read it."""

from typing import Any

from rich.console import Console

from pipeline.regression.result import Difference, GateResult, Row
from pipeline.report.gate_view import print_gate

ROWS = (
    Row("export", "top1", 0.95, 0.95, 0.0, "PASS", "no change"),
    Row("export", "bytes", 164_000_000, 164_000_000, 1.1, "PASS", "1.00 times"),
    Row("quantize", "top1", 0.95, 0.9, 0.005, "FAIL", "fewer right by 5.00 points"),
    Row("quantize", "top1_drop", 0.0, 0.05, 0.005, "FAIL", "larger gap by 5.00 points"),
    Row("quantize", "seconds", 10.0, 12.5, None, "SKIPPED", "measured on another kind of machine"),
    Row("lower", "stage", 41_000, None, None, "FAIL", "was skipped: [bold]no form[/]"),
    Row("compile", "stage", None, 41_000, None, "SKIPPED", "the baseline does not have it"),
)


def printed(capsys: Any, result: GateResult) -> list[str]:
    print_gate(result, Console(width=100, highlight=False))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_regressions(capsys: Any) -> None:
    notes = (Difference("onnxruntime", "1.22", "1.23"),)
    lines = printed(capsys, GateResult("demo", "sl1680", "b.json", False, ROWS, (), notes))
    assert lines == [
        "stage top-1 drop size time",
        "export 95.00% - 164.0 MB -",
        "quantize ! 90.00% (95.00%) ! +5.00 (0.00) - 12.5 s (10.0 s)",
        "lower ! missing - - -",
        "compile new - - -",
        "drops in points, against the float export; in brackets the baseline",
        "worse: quantize: top-1: fewer right by 5.00 points",
        "worse: quantize: drop: larger gap by 5.00 points",
        "worse: lower: was skipped: [bold]no form[/]",
        "not compared: quantize: time: measured on another kind of machine",
        "not compared: compile: the baseline does not have it",
        "changed: onnxruntime: 1.22 in the baseline, 1.23 now",
        "demo for sl1680: 3 regressions (b.json)",
    ]


def test_what_was_refused(capsys: Any) -> None:
    refused = (Difference("delegate", "cpu", "npu"),)
    assert printed(capsys, GateResult("demo", None, "b.json", False, (), refused, ())) == [
        "unlike: delegate: cpu in the baseline, npu now",
        "demo: not compared (b.json)",
    ]
