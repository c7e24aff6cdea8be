"""What the commands do with a job: its run, and what is written and shown."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path, publish, write_text
from pipeline.dependencies import initial_settings, key_fields, preprocess_of
from pipeline.engine import TargetResult
from pipeline.engine import run as run_stages
from pipeline.errors import Missing, MissingError, StageError
from pipeline.job import Job
from pipeline.plan_run import StagePlan
from pipeline.plan_run import plan as plan_stages
from pipeline.preflight import find_missing
from pipeline.quantities import confidence
from pipeline.recipe.unused import unused
from pipeline.report.card import CARD, write_card
from pipeline.report.html.write import write_report
from pipeline.report.json_report import build_report
from pipeline.report.terminal import Terminal, print_results
from pipeline.stages import compile
from pipeline.store import Store
from pipeline.synap.handover import CPU_NOTICE, Handover, decide_handover
from pipeline.system_errors import system_errors_explained

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets

_SHOWN = {"verdicts", "cautions", "report"}
"""Kinds of results that only say or show what was computed."""
_EXIT = {"PASS": 0, "UNDECIDED": 0, "FAIL": 1, "SKIPPED": 1}


def run(job: Job, *, strict: bool, as_json: bool) -> int:
    """Carry out the job, write and show its results; the exit code."""
    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    samples, handover = _prepare(job, store, terminal)
    for note in samples.notes:
        terminal.note(note)
    results = run_stages(job, samples, handover, store, terminal)
    reports = [build_report(job, result, samples, handover) for result in results]
    bundles, pages = [], []
    for result, report in zip(results, reports, strict=True):
        folder = _results_folder(job, result)
        with (
            system_errors_explained(f"writing the results to {folder}", job.artifacts),
            store.lock(f"results-{job.recipe.name}-{folder.name}"),
            terminal.bar(f"results of {folder.name}", 0),
        ):
            bundle = _publish(result, folder)
            write_text(folder / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
            pages.append(write_report(job, result, report, samples, store, terminal, folder))
            if bundle is None:
                (folder / CARD).unlink(missing_ok=True)
            else:
                write_card(folder, job.threads, store)
        if bundle is not None:
            bundles.append((bundle, CPU_NOTICE if handover.delegate == "cpu" else ""))
    if as_json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=1))
    else:
        computed = bool(store.made - _SHOWN)
        print_results(results, bundles, pages, handover.fallback, computed=computed)
    for result in results:
        if result.failure is not None:
            name = result.target.name if result.target else ""
            terminal.console.print(f"error: {name}: {result.failure}", markup=False, soft_wrap=True)
    return max(
        _exit_code(r, report["verdict"], strict) for r, report in zip(results, reports, strict=True)
    )


def sensitivity(job: Job, images: int, max_drop: float | None) -> dict[str, Any]:
    """Which layers of the recipe's quantized model cost most, as JSON data."""
    from pipeline.sensitivity import measure_sensitivity

    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    samples, handover = _prepare(job, store, terminal)
    (result,) = run_stages(job, samples, handover, store, terminal)
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
    samples = _draw(job, terminal)
    return list(plan_stages(job, samples, _handover(job), store))


def obstacles(job: Job) -> list[Missing]:
    """What a run would stop for before its first long computation."""
    store = Store(job.store_root, Terminal().note)
    return find_missing(job, _handover(job), has_weights=_has_weights(job, store))


def _prepare(job: Job, store: Store, terminal: Terminal) -> "tuple[SampleSets, Handover]":
    """Everything a run needs, or all that is missing, before any long work."""
    handover = _handover(job)
    missing = find_missing(job, handover, has_weights=_has_weights(job, store))
    if missing:
        raise MissingError(missing)
    samples = _draw(job, terminal)
    recipe, classes = job.recipe.recipe, samples.evaluation.dataset.class_count
    said = unused(recipe, handover.delegate, classes)
    for line in [*unattainable(job, len(samples.evaluation)), *said]:
        terminal.note(line)
    return samples, handover


def _handover(job: Job) -> Handover:
    recipe = job.recipe.recipe
    as_integers = recipe.model.source == "quantized-tflite"
    return decide_handover(recipe.compile, comes_as_integers=as_integers)


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


def _publish(result: TargetResult, folder: Path) -> Path | None:
    """Put the bundle and what belongs to it beside its report; the bundle's path, or None where
    there is none. What an earlier run left does not belong to this report."""
    compiled = next((stage for stage in result.stages if stage.name == "compile"), None)
    if compiled is None or compiled.artifact is None:
        for name in compile.GIVES.values():
            (folder / name).unlink(missing_ok=True)
        return None
    made = compiled.artifact.path.parent
    for name in compile.GIVES.values():
        is_bundle = name == compile.BUNDLE
        digest = compiled.artifact.sha256 if is_bundle else digest_of_path(made / name)
        if not (folder / name).is_file() or digest_of_path(folder / name) != digest:
            publish(made / name, folder / name)
    return folder / compile.BUNDLE


def _results_folder(job: Job, result: TargetResult) -> Path:
    last = job.stages[-1].name
    name = f"until-{last}" if result.target is None else result.target.name
    return job.artifacts / job.recipe.name / name


def _exit_code(result: TargetResult, verdict: str, strict: bool) -> int:
    if result.failure is not None:
        return result.failure.exit_code
    return 1 if strict and verdict == "UNDECIDED" else _EXIT[verdict]
