"""`report.json`: what a run did and found, for machines. Its form is a contract."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.check.result import Check, Verdict
from pipeline.engine import TargetResult
from pipeline.job import Job
from pipeline.process import environment
from pipeline.synap.handover import CPU_NOTICE, Handover

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets

SCHEMA = 1
PACKAGES = (
    "torch", "torchvision", "timm", "onnx", "onnx_ir", "onnxruntime", "numpy", "pillow",
    "scikit-learn", "huggingface_hub", "safetensors", "ai-edge-litert",
)  # fmt: skip


def overall(checks: Iterable[Check]) -> Verdict:
    """The worst verdict among the required checks; PASS where there are none to fail."""
    worst: Verdict = "PASS"
    order: dict[Verdict, int] = {"FAIL": 0, "SKIPPED": 1, "UNDECIDED": 2, "PASS": 3}
    for check in checks:
        if check.required and order[check.verdict] < order[worst]:
            worst = check.verdict
    return worst


def build_report(
    job: Job, result: TargetResult, samples: "SampleSets", handover: Handover
) -> dict[str, Any]:
    """The report of one target, as JSON data."""
    verdict = "FAIL" if result.failure is not None else overall(s.check for s in result.stages)
    return {
        "schema": SCHEMA,
        "recipe": job.recipe.name,
        "target": None if result.target is None else result.target.name,
        "verdict": verdict,
        "failure": None if result.failure is None else str(result.failure),
        "stages": [
            {
                "name": stage.name,
                "cached": stage.cached,
                "seconds": stage.seconds,
                "peak_rss_mb": stage.peak_rss_mb,
                "artifact": _artifact(stage.artifact, job.artifacts),
                "check": _finite(stage.check.to_json()),
                "details": dict(stage.details),
                "options": dict(stage.options),
            }
            for stage in result.stages
        ],
        "compile": _compile(result, handover),
        "data": {
            "calibration": _samples(samples.calibration),
            "selection": None if samples.selection is None else _samples(samples.selection),
            "evaluation": _samples(samples.evaluation),
            "preprocess": _preprocess(job, result),
            "broken": list(samples.broken),
            "duplicates": samples.duplicates,
            "notes": list(samples.notes),
        },
        "environment": environment(PACKAGES, job.threads),
    }


def _artifact(artifact: Artifact | None, root: Path) -> dict[str, Any] | None:
    if artifact is None:
        return None
    return {
        "path": _shown_path(artifact.path, root),
        "format": artifact.format,
        "sha256": artifact.sha256,
        "bytes": artifact.size,
    }


def _compile(result: TargetResult, handover: Handover) -> dict[str, Any] | None:
    compiled = next((stage for stage in result.stages if stage.name == "compile"), None)
    if compiled is None:
        return None
    toolkit = handover.toolkit
    return {
        "toolkit": None if toolkit is None else toolkit.kind,
        "toolkit_version": None if toolkit is None else compiled.details.get("toolkit_version"),
        "delegate": handover.delegate,
        "handoff": handover.form,
        "fallback": handover.fallback or None,
        "notice": CPU_NOTICE if handover.delegate == "cpu" else "not verified on hardware",
    }


def _samples(samples: Any) -> dict[str, Any]:
    return {"dataset": samples.dataset.name, "images": len(samples), "sha256": samples.digest}


def _preprocess(job: Job, result: TargetResult) -> Any:
    """What was done to every image: as the recipe says, or else as the model itself declares."""
    given = job.recipe.recipe.data.preprocess
    if given is not None:
        return given.model_dump(mode="json")
    return next(s.details["preprocess"] for s in result.stages if s.name == "weights")


def _shown_path(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity; a broken model's NaN logits become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in data.items()
    }
