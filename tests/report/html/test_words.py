"""The run in one sentence, for every way in which it can end."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.check.result import Check
from pipeline.report.html import words
from pipeline.report.html.view import Absent, Rules, RunView, StageView, Tried

CHECK = Check(
    images=600, top1=0.95, top5=0.99, top1_drop=0.0051, step_drop=0.0, agreement=0.98,
    sqnr_db=31.0, max_logit_error=0.5, confidence_interval=(-0.001, 0.011), required=True,
    evidence="measured", verdict="PASS", reason="a reason",
)  # fmt: skip
NONE = Absent("none")


def stage(name: str, **check: Any) -> StageView:
    return StageView(
        name, "onnx", "m.onnx", "a" * 64, 10, 1.0, 1.0, replace(CHECK, **check), 0.03, 0.95
    )


def view(final: StageView, verdict: str, failure: str | None = None) -> RunView:
    reference = stage("export", top1_drop=0.0, confidence_interval=None)
    report = {"verdict": verdict, "failure": failure}
    return RunView(
        report, (reference, final), reference, final, NONE, NONE, NONE, NONE, NONE,
        {"compile": "SyNAP bundle", "quantize": "Quantized ONNX", "export": "Float export"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("final", "verdict", "failure", "expected"),
    [
        (stage("compile"), "PASS", None,
         "Passed: the SyNAP bundle is right on 95.00 % of 600 images, 0.51 points below the float model."),
        (stage("quantize", top1_drop=-0.01), "PASS", None,
         "Passed: the quantized ONNX is right on 95.00 % of 600 images, 1.00 points above the float model."),
        (stage("compile", top1_drop=0.0, evidence="predicted"), "PASS", None,
         "Passed: the SyNAP bundle is predicted to be right on 95.00 % of 600 images, as is the float model."),
        (stage("compile", evidence="board", images=1), "PASS", None,
         "Passed: the SyNAP bundle is, on the board, right on 95.00 % of 1 image, 0.51 points below the float model."),
        (stage("compile", verdict="FAIL"), "FAIL", None, "Failed: SyNAP bundle, a reason."),
        (stage("quantize", verdict="UNDECIDED"), "UNDECIDED", None, "Undecided: quantized ONNX, a reason."),
        (stage("compile", verdict="SKIPPED"), "SKIPPED", None, "Not shown: SyNAP bundle, a reason."),
        (stage("compile"), "FAIL", "compile: no disk\n  make room", "The run ended early. compile: no disk."),
    ],
)  # fmt: skip
def test_the_verdict_in_one_sentence(
    final: StageView, verdict: str, failure: str | None, expected: str
) -> None:
    assert words.verdict_sentence(view(final, verdict, failure)).replace("\u202f", " ") == expected


def test_nothing_was_demanded() -> None:
    free = view(stage("compile", required=False), "PASS")
    reference = stage("export", required=False)
    free = replace(free, stages=(reference, free.stages[1]))
    assert words.verdict_sentence(free).startswith(
        "Nothing was demanded: the SyNAP bundle is right"
    )
    assert words.headline(free) == "reported"
    assert words.headline(replace(free, report={"verdict": "FAIL", "failure": "no disk"})) == "FAIL"
    assert words.headline(view(stage("compile"), "PASS")) == "PASS"


def test_what_the_images_leave_open() -> None:
    assert words.interval_sentence(view(stage("compile"), "PASS")) == (
        "Judged from 600 images, the true change lies between a gain of 0.10 and a loss of 1.10 "
        "points, each end with 95\u202f% confidence; the recipe allows a loss of 3.00."
    )
    sure = replace(stage("compile", confidence_interval=(0.001, 0.0), images=1), limit=None)
    assert words.interval_sentence(view(sure, "PASS")) == (
        "Judged from 1 image, the true change lies between a loss of 0.10 and a loss of 0.00 "
        "points, each end with 95\u202f% confidence."
    )
    assert words.interval_sentence(view(stage("compile", confidence_interval=None), "PASS")) == ""


def test_why_a_rule_won() -> None:
    first = Tried("export", "mse", "none", 30.0, 8, False)
    rivals = (
        Tried("export", "mse", "none", 20.0, 48, False),
        Tried("equalize", "minmax", "sequential", 22.5, 48, True),
    )
    assert words.rules_sentence(Rules((first, *rivals))).replace("\u202f", " ") == (
        "Minmax on the equalized graph with sequential bias correction won with 22.5 dB on 48 "
        "images, 2.5 dB ahead of mse on the exported graph."
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, words.NONE),
        (0.0, "0"),
        (-0.01234, "\u22120.0123"),
        (1234.5, "1234"),
        (7.5512, "7.55"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert words.number(value) == shown
