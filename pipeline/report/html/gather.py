"""From a run's results and what the store has of them to the `RunView` of its page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Preprocess
from pipeline.engine import StageResult, TargetResult
from pipeline.evaluation.evaluator import LOGITS, Evaluator
from pipeline.evaluation.looks import Looks, Outputs
from pipeline.job import Job
from pipeline.progress import Progress
from pipeline.recipe import Thresholds
from pipeline.report.html.analysis import analysis_of
from pipeline.report.html.pictures import flips_of, sights_of
from pipeline.report.html.view import (
    Absent,
    Analysis,
    DeviceMeasure,
    Flips,
    Rules,
    RunView,
    Sight,
    StageView,
    Tried,
)
from pipeline.stages import REFERENCE, chain_of
from pipeline.stages.stage import Settings, Work
from pipeline.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.draw import SampleSets

_LABELS = {
    "weights": "Weights",
    "export": "Float export",
    "equalize": "Equalized float",
    "quantize": "Quantized ONNX",
    "lower": "Integer TFLite",
    "compile": "SyNAP bundle",
    "device": "On the board",
}
_INTEGERS = "The model came as integers: there is no float model to compare with."


def gather(
    job: Job,
    result: TargetResult,
    report: Mapping[str, Any],
    samples: "SampleSets",
    store: Store,
    progress: Progress,
) -> RunView:
    """Everything the page shows. Logits come out of the store; only the analysis may compute."""
    stages = tuple(_stage(job, stage, report) for stage in result.stages)
    by_name = {stage.name: stage for stage in stages}
    preprocess = Preprocess.model_validate(report["data"]["preprocess"])
    known = [stage for stage in stages if stage.check.top1 is not None]
    return RunView(
        report=report,
        stages=stages,
        reference=by_name.get(REFERENCE),
        final=known[-1] if known else None,
        analysis=_analysis(job, result, preprocess, samples, store, progress),
        rules=_rules(job, result),
        flips=_flips(job, result, preprocess, samples, store, progress),
        sights=_sights(job, samples, preprocess),
        device=_device(result),
        labels=_LABELS,
        remark=_INTEGERS if _came_as_integers(job) else "",
    )


def _stage(job: Job, stage: StageResult, report: Mapping[str, Any]) -> StageView:
    thresholds = getattr(job.recipe.recipe.checks, stage.name, Thresholds())
    written = next(row for row in report["stages"] if row["name"] == stage.name)
    artifact = written["artifact"] or {}
    return StageView(
        name=stage.name,
        format=artifact.get("format"),
        path=artifact.get("path"),
        sha256=artifact.get("sha256"),
        bytes=artifact.get("bytes"),
        seconds=stage.seconds,
        peak_rss_mb=stage.peak_rss_mb,
        check=stage.check,
        limit=thresholds.max_top1_drop,
        confidence=thresholds.confidence,
    )


def _came_as_integers(job: Job) -> bool:
    """Whether the recipe's chain has no float model."""
    return all(stage.name != REFERENCE for stage in chain_of(job.recipe.recipe))


def _quantized(job: Job, result: TargetResult) -> StageResult | Absent:
    """The stage `quantize`, where it has a result."""
    if _came_as_integers(job):
        return Absent(_INTEGERS, left_out=True)
    found = next((stage for stage in result.stages if stage.name == "quantize"), None)
    if found is None:
        last = result.stages[-1].name if result.stages else "the first stage"
        return Absent(f"Not in this run, which ended with {last}, before anything was quantized.")
    if found.artifact is None:
        return Absent(f"The model was not quantized: {found.check.reason}.")
    return found


def _analysis(
    job: Job,
    result: TargetResult,
    preprocess: Preprocess,
    samples: "SampleSets",
    store: Store,
    progress: Progress,
) -> Analysis | Absent:
    quantized = _quantized(job, result)
    if isinstance(quantized, Absent):
        return quantized
    assert quantized.artifact is not None
    settings = Settings(job.recipe, job.weights, preprocess)
    work = Work(quantized.artifact.path.parent, {}, settings, samples, store, job.threads, progress)
    # A model that came quantized has a Plan, but nobody saw where its ranges are from.
    return analysis_of(work, store, calibrated="calibration_images" in quantized.details)


def _rules(job: Job, result: TargetResult) -> Rules | Absent:
    quantized = _quantized(job, result)
    if isinstance(quantized, Absent):
        return quantized
    candidates = quantized.details.get("candidates")
    if not candidates:
        ranges = job.recipe.recipe.quantize.ranges
        rule = "auto" if ranges == "auto" else ranges.rule
        reason = f"Only one rule was tried, because the recipe names it: {rule}."
        return Absent(reason, left_out=True)
    # The last round saw all images, and the winner is its best (`quant/search.py`).
    most = max(row["images"] for row in candidates)
    final = [row for row in candidates if row["images"] == most]
    winner = max(final, key=lambda row: -1e9 if row["sqnr_db"] is None else row["sqnr_db"])
    return Rules(
        tuple(
            Tried(
                row["graph"], row["rule"], row["bias_correction"], row["sqnr_db"], row["images"],
                row is winner,
            )
            for row in candidates
        )
    )  # fmt: skip


def _flips(
    job: Job,
    result: TargetResult,
    preprocess: Preprocess,
    samples: "SampleSets",
    store: Store,
    progress: Progress,
) -> Flips | Absent:
    if _came_as_integers(job):
        return Absent(_INTEGERS, left_out=True)
    run = [s for s in result.stages if s.artifact is not None and s.check.evidence == "measured"]
    reference = next((stage for stage in run if stage.name == REFERENCE), None)
    if reference is None or run[-1].name == REFERENCE:
        return Absent("There is nothing to compare: no stage behind the float export was run.")
    looks = Looks(samples.evaluation, auto=job.recipe.recipe.data.evaluation.images == "auto")
    evaluator = Evaluator(store, job.threads, progress, job.engine)
    seen = looks.ends.index(run[-1].check.images) + 1

    def logits(stage: StageResult) -> "NDArray[np.float32]":
        import numpy as np

        artifact = stage.artifact
        assert artifact is not None
        outputs = Outputs(looks, lambda part: evaluator.outputs(artifact, part, preprocess))
        return np.concatenate(
            [np.load(entry.path(LOGITS), allow_pickle=False) for entry in outputs.first(seen)]
        )

    before, after = logits(reference), logits(run[-1])
    return flips_of(
        _LABELS.get(run[-1].name, run[-1].name), before, after, looks.first(seen),
        job.recipe.recipe.model.label_offset, _names(job, samples, before.shape[1]), preprocess,
    )  # fmt: skip


def _sights(job: Job, samples: "SampleSets", preprocess: Preprocess) -> tuple[Sight, ...] | Absent:
    evaluation = samples.evaluation
    offset = job.recipe.recipe.model.label_offset
    names = _names(job, samples, evaluation.dataset.class_count + offset)
    return sights_of(evaluation, offset, names, preprocess)


def _names(job: Job, samples: "SampleSets", outputs: int) -> "Sequence[str] | None":
    from pipeline.data.class_names import class_names, own_class_names

    recipe = job.recipe.recipe
    own = own_class_names(samples.evaluation.dataset)
    return class_names(recipe.data.evaluation.dataset, outputs, own)


def _device(result: TargetResult) -> DeviceMeasure | Absent:
    """What the last stage that was run in both views has of it (`deployment_gap.py`)."""
    found = [s.details["device_view"] for s in result.stages if "device_view" in s.details]
    if not found:
        return Absent(
            "The board's own view was not measured in this run; it is with the stage compile, unless "
            "the recipe says `device_view: false` there."
        )
    measured = found[-1]
    low, high = measured["confidence_interval"]
    return DeviceMeasure(
        measured["images"], measured["model_top1"], measured["top1"], measured["gap"], (low, high),
        measured["confidence"],
    )  # fmt: skip
