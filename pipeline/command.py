"""What the commands do with a job: its run, and what is shown."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.dependencies import initial_settings, key_fields, preprocess_of
from pipeline.engine import TargetResult
from pipeline.engine import run as run_stages
from pipeline.errors import Missing, MissingError, PipelineError, StageError
from pipeline.job import Job
from pipeline.plan_run import StagePlan
from pipeline.plan_run import plan as plan_stages
from pipeline.preflight import find_missing
from pipeline.quantities import confidence
from pipeline.recipe.unused import unused
from pipeline.report.json_report import overall
from pipeline.report.terminal import Terminal, print_results
from pipeline.results import write_results
from pipeline.stages import for_delegate
from pipeline.store import Store
from pipeline.synap.handover import CPU_NOTICE, Handover, decide_handover

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets

_SHOWN = {"verdicts", "cautions", "report"}
"""Kinds of results that only say or show what was computed."""
_EXIT = {"PASS": 0, "UNDECIDED": 0, "FAIL": 1, "SKIPPED": 1}


def run(job: Job, *, strict: bool, as_json: bool) -> int:
    """Carry out the job, write and show its results; the exit code."""
    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    job, samples, handover = _prepare(job, store, terminal)
    for note in samples.notes:
        terminal.note(note)
    results = run_stages(job, samples, handover, store, terminal)
    made = [write_results(job, result, samples, handover, store, terminal) for result in results]
    written = [each for each in made if each is not None]
    reports = [each.report for each in written]
    if as_json and reports:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=1))
    elif reports:
        notice = CPU_NOTICE if handover.delegate == "cpu" else ""
        bundles = [(each.bundle, notice) for each in written if each.bundle is not None]
        failed = any(result.failure is not None for result in results)
        computed = failed or bool(store.made - _SHOWN)
        pages = [each.page for each in written]
        print_results(results, bundles, pages, handover.fallback, computed=computed)
    common = _common_failure(job, results)
    if common is not None:
        raise common
    for result in results:
        if result.failure is not None:
            name = result.target.name if result.target else ""
            terminal.console.print(f"error: {name}: {result.failure}", markup=False, soft_wrap=True)
    return max(_exit_code(result, strict) for result in results)


def sensitivity(job: Job, images: int, max_drop: float | None) -> dict[str, Any]:
    """Which layers of the recipe's quantized model cost most, as JSON data."""
    from pipeline.sensitivity import measure_sensitivity

    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    job, samples, handover = _prepare(job, store, terminal)
    (result,) = run_stages(job, samples, handover, store, terminal)
    if result.failure is not None:
        raise result.failure
    stages = {stage.name: stage for stage in result.stages}
    quantized = stages["quantize"]
    assert quantized.artifact is not None  # it is never skipped
    model = stages["weights"].artifact if "weights" in stages else None
    preprocess = preprocess_of(job.recipe, Path() if model is None else model.path)
    return measure_sensitivity(
        job, quantized.artifact.path.parent, dict(quantized.details), preprocess, samples, images,
        max_drop, store, terminal,
    )  # fmt: skip


def plan(job: Job) -> list[StagePlan]:
    """For every stage, whether it would run and why."""
    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    job, handover = _with_handover(job)
    return list(plan_stages(job, _draw(job, terminal), handover, store))


def obstacles(job: Job) -> list[Missing]:
    """What a run would stop for before its first long computation."""
    store = Store(job.store_root, Terminal().note)
    job, handover = _with_handover(job)
    return find_missing(job, handover, has_weights=_has_weights(job, store))


def _prepare(job: Job, store: Store, terminal: Terminal) -> "tuple[Job, SampleSets, Handover]":
    """Everything a run needs, or all that is missing, before any long work."""
    job, handover = _with_handover(job)
    missing = find_missing(job, handover, has_weights=_has_weights(job, store))
    if missing:
        raise MissingError(missing)
    samples = _draw(job, terminal)
    recipe, classes = job.recipe.recipe, samples.evaluation.dataset.class_count
    said = unused(recipe, handover.delegate, classes)
    for line in [*unattainable(job, len(samples.evaluation)), *said]:
        terminal.note(line)
    return job, samples, handover


def _with_handover(job: Job) -> tuple[Job, Handover]:
    """How the model is handed over, and the job with the chain that this takes."""
    recipe = job.recipe.recipe
    as_integers = recipe.model.source == "quantized-tflite"
    handover = decide_handover(recipe.compile, comes_as_integers=as_integers)
    return replace(job, stages=for_delegate(job.stages, handover.delegate)), handover


def unattainable(job: Job, images: int) -> list[str]:
    """Which of the recipe's limits so many evaluation images cannot show, even if none changed."""
    from pipeline.check import gate, sequential

    auto = job.recipe.recipe.data.evaluation.images == "auto"
    method = sequential if auto else gate
    lines = []
    for stage in job.stages:
        thresholds = getattr(job.recipe.recipe.checks, stage.name)
        limit = thresholds.max_top1_drop
        if limit is None or method.attainable(images, limit, thresholds.confidence):
            continue
        least = method.least_images(limit, thresholds.confidence)
        needed = "no number of images can" if least is None else f"that takes {least} images"
        lines.append(
            f"checks.{stage.name}: {images} evaluation images cannot show a drop within "
            f"{100 * limit:g} points at {confidence(thresholds.confidence)} if none changes; {needed}"
        )
    return lines


def _has_weights(job: Job, store: Store) -> bool:
    stage, settings = job.stages[0], initial_settings(job)
    if job.weights is not None and not job.weights.is_file():
        return False
    if job.weights is None and stage.name != "weights":
        return False
    try:
        fields = key_fields(stage, settings, {}, None)
    except StageError:  # an unreadable file: the source says so, among all that is missing
        return False
    return store.find(stage.name, fields) is not None


def _draw(job: Job, terminal: Terminal) -> "SampleSets":
    from pipeline.data.digest_index import DigestIndex
    from pipeline.data.draw import draw_samples

    index = DigestIndex(job.store_root / "images.json")
    return draw_samples(job.recipe.recipe.data, job.data, job.recipe.folder, index, terminal)


def subset(
    dataset: str,
    output: Path,
    images: int,
    seed: int,
    data: Path | None,
    labels: str,
    artifacts: Path,
) -> str:
    """Draw a subset of a dataset and write its manifest; what to tell the user."""
    from pipeline.data.datasets import dataset_named
    from pipeline.data.subset import make_subset

    drawn = make_subset(
        output, dataset_named(dataset), data, images, seed, artifacts.resolve() / ".store",
        Terminal(), "real" if labels == "real" else "dataset",
    )  # fmt: skip
    return f"{output}: {len(drawn.items)} images"


def _common_failure(job: Job, results: Sequence[TargetResult]) -> PipelineError | None:
    """Why a stage that all targets share failed, if one did."""
    shared = sum(not stage.per_target for stage in job.stages)
    return next((result.failure for result in results if len(result.stages) < shared), None)


def _exit_code(result: TargetResult, strict: bool) -> int:
    if result.failure is not None:
        return result.failure.exit_code
    verdict = overall(stage.check for stage in result.stages)
    return 1 if strict and verdict == "UNDECIDED" else _EXIT[verdict]
