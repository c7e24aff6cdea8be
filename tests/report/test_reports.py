"""The report and the table, from results made by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.artifact import Artifact
from pipeline.check.result import Check
from pipeline.data.preprocess import Preprocess
from pipeline.engine import StageResult, TargetResult
from pipeline.errors import StageError
from pipeline.report.json_report import build_report, overall
from pipeline.synap.handover import Handover
from pipeline.synap.toolkit_find import Toolkit
from pipeline.targets import load_target

CHECK = Check(
    images=600, top1=0.9512, top5=0.99, top1_drop=0.0051, step_drop=-0.001, agreement=0.985,
    sqnr_db=31.25, max_logit_error=0.5, confidence_interval=(-0.001, 0.011), required=True,
    evidence="measured", verdict="PASS", reason="drop 0.51 points",
)  # fmt: skip


VIEW = Preprocess(size=75, crop=1.0)


def stage(name: str, cached: bool = False, size: int = 43_000_000, **check: Any) -> StageResult:
    artifact = Artifact(Path("/results/.store/x/model.onnx"), "onnx", "a" * 64, size)
    return StageResult(name, cached, 12.345, 800.5, artifact, replace(CHECK, **check), {"n": 1}, {})


def report_of(
    result: TargetResult, handover: Handover | None = None, preprocess: Preprocess | None = VIEW
) -> Any:
    images = SimpleNamespace(dataset=SimpleNamespace(name="digits"), digest="e" * 64, __len__=None)

    class Images(list[int]):
        dataset, digest = images.dataset, images.digest

    samples: Any = SimpleNamespace(
        calibration=Images([1, 2]), selection=None, evaluation=Images([1, 2, 3]),
        broken=("x.JPEG",), duplicates=2, notes=("a note",),
    )  # fmt: skip
    recipe = SimpleNamespace(data=SimpleNamespace(preprocess=preprocess))
    job: Any = SimpleNamespace(
        recipe=SimpleNamespace(name="demo", recipe=recipe), artifacts=Path("/results"), threads=2
    )
    return build_report(job, result, samples, handover or Handover("cpu"))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "PASS"),
        (["PASS", "PASS"], "PASS"),
        (["PASS", "UNDECIDED"], "UNDECIDED"),
        (["UNDECIDED", "SKIPPED"], "SKIPPED"),
        (["SKIPPED", "FAIL", "PASS"], "FAIL"),
    ],
)
def test_the_worst_required_check_counts(verdicts: Any, expected: str) -> None:
    checks = [replace(CHECK, verdict=verdict) for verdict in verdicts]
    assert overall(checks) == expected
    ignored = [replace(CHECK, verdict=v, required=False) for v in ("FAIL", "SKIPPED", "UNDECIDED")]
    assert overall([*checks, *ignored]) == expected


def test_a_report(tmp_path: Path) -> None:
    target = load_target("sl1640")
    result = TargetResult(target, (stage("export", cached=True), stage("compile")))
    report = report_of(result)
    assert json.loads(json.dumps(report, allow_nan=False))["target"] == "sl1640"
    assert (report["schema"], report["recipe"], report["verdict"]) == (1, "demo", "PASS")
    assert report["stages"][0]["artifact"] == {
        "path": ".store/x/model.onnx", "format": "onnx", "sha256": "a" * 64, "bytes": 43_000_000,
    }  # fmt: skip
    assert [s["cached"] for s in report["stages"]] == [True, False]
    data = report["data"]
    assert data["evaluation"] == {"dataset": "digits", "images": 3, "sha256": "e" * 64}
    assert (data["selection"], data["broken"], data["duplicates"]) == (None, ["x.JPEG"], 2)
    assert (report["compile"]["delegate"], report["compile"]["handoff"]) == ("cpu", "qdq-onnx")
    assert report["failure"] is None


def test_a_report_says_what_was_done_to_images() -> None:
    own = Preprocess(size=299, mean=(0.1, 0.2, 0.3)).model_dump(mode="json")
    weights = replace(stage("weights"), details={"preprocess": own})
    result = TargetResult(None, (weights, stage("export")))
    assert report_of(result)["data"]["preprocess"] == VIEW.model_dump(mode="json")
    assert report_of(result, preprocess=None)["data"]["preprocess"] == own


def test_a_target_that_failed() -> None:
    failure = StageError("the toolkit failed", where="compile", hint="look at the log")
    report = report_of(TargetResult(load_target("sl1680"), (stage("export"),), failure))
    assert (report["verdict"], report["compile"]) == ("FAIL", None)
    assert report["failure"] == "compile: the toolkit failed\n  look at the log"


def test_an_npu_build_says_that_it_is_not_verified() -> None:
    toolkit = Toolkit("native", Path("/bin/synap_convert"), "3.2.0")
    compiled = replace(stage("compile"), details={"toolkit_version": "3.2.0"})
    result = TargetResult(load_target("sl1680"), (compiled,))
    assert report_of(result, Handover("npu", toolkit))["compile"] == {
        "toolkit": "native", "toolkit_version": "3.2.0", "delegate": "npu", "handoff": "tflite",
        "fallback": None, "notice": "not verified on hardware",
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_report_has_no_numbers_that_json_lacks(value: float) -> None:
    report = report_of(TargetResult(None, (stage("export", max_logit_error=value),)))
    assert report["stages"][0]["check"]["max_logit_error"] is None
    json.dumps(report, allow_nan=False)
