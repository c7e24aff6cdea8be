"""What the commands do: from their arguments to a job, its run, and what is written and shown."""

import difflib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pipeline.artifact import Artifact, Format, digest_of_path, publish, write_text
from pipeline.board.outputs import board_of
from pipeline.engine import Job, TargetResult, initial_settings, key_fields, preprocess_of
from pipeline.engine import plan as plan_stages
from pipeline.engine import run as run_stages
from pipeline.errors import MissingError, StageError, UsageError
from pipeline.preflight import find_missing, resolve
from pipeline.recipe import DatasetName
from pipeline.recipe_file import RecipeFile, load_recipe
from pipeline.report.json_report import build_report
from pipeline.report.terminal import Terminal, print_results
from pipeline.stages import chain_of, compile, stages_until
from pipeline.stages.stage import Stage
from pipeline.store import Store
from pipeline.synap.handover import CPU_NOTICE, Handover, decide_handover
from pipeline.system_errors import system_errors_explained
from pipeline.targets import load_target, target_names

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets
    from pipeline.data.samples import Samples

_EXIT = {"PASS": 0, "UNDECIDED": 0, "FAIL": 1, "SKIPPED": 1}
_FORMATS: dict[str, Format] = {".onnx": "onnx", ".tflite": "tflite", ".synap": "synap"}


def make_job(
    config: Path,
    target: str,
    until: str | None,
    overrides: Sequence[str],
    weights: Path | None,
    data: Path | None,
    artifacts: Path,
    threads: int,
) -> Job:
    """Read the recipe and everything else that the command line names. Raises UsageError."""
    names = target_names() if target.lower() == "all" else (target,)
    targets = tuple(load_target(name) for name in names)
    file = load_recipe(config, overrides)
    chain = chain_of(file.recipe)
    _require_stage(until, chain)
    _read_metafile(file)
    if file.recipe.device is not None:
        load_target(file.recipe.device.target)
        board_of(file.recipe.device, file.folder)
    return Job(
        recipe=file,
        targets=targets,
        stages=stages_until(until, chain),
        weights=resolve(weights, file.recipe.model.weights, file.folder),
        data=resolve(data, file.recipe.data.folder, file.folder),
        artifacts=artifacts.resolve(),
        threads=threads or _cores(),
    )


def _read_metafile(file: RecipeFile) -> None:
    """Hold a metafile of the user's against the rules before any work."""
    from pipeline.synap.metafile_read import load_metafile

    options = file.recipe.compile
    if options.metafile is not None and options.delegate == "npu":
        load_metafile(file.folder / options.metafile, options.handoff)


def run(job: Job, *, strict: bool, as_json: bool) -> int:
    """Carry out the job, write and show its results; the exit code."""
    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    samples, handover = _prepare(job, store, terminal)
    for note in samples.notes:
        terminal.note(note)
    results = run_stages(job, samples, handover, store, terminal)
    reports = [build_report(job, result, samples, handover) for result in results]
    bundles = []
    for result, report in zip(results, reports, strict=True):
        folder = _results_folder(job, result)
        with (
            system_errors_explained(f"writing the results to {folder}", job.artifacts),
            store.lock(f"results-{job.recipe.name}-{folder.name}"),
        ):
            bundle = _publish(result, folder)
            write_text(folder / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
        if bundle is not None:
            bundles.append((bundle, CPU_NOTICE if handover.delegate == "cpu" else ""))
    if as_json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=1))
    else:
        print_results(results, bundles, handover.fallback)
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


def plan(job: Job) -> list[tuple[str, str]]:
    """For every stage, whether it would run and why."""
    terminal = Terminal()
    store = Store(job.store_root, terminal.note)
    samples = _draw(job, terminal)
    rows: list[tuple[str, str]] = []
    plan_stages(
        job, samples, decide_handover(job.recipe.recipe.compile), store,
        lambda name, state: rows.append((name, state)),
    )  # fmt: skip
    return rows


def evaluate(
    file: Path,
    data: Path,
    config: Path | None,
    images: int,
    artifacts: Path,
    threads: int,
    label_offset: int | None = None,
    view: str = "model",
    dataset: str = "imagenet",
) -> dict[str, Any]:
    """The check of one model file on a folder of images, as JSON data; the label offset is the
    recipe's, or else 0, where none is given.

    `view` says who prepares the pictures: the model's own preprocessing, or the `device`, whose
    check then has that of the model's own beside it (`model_view`), and their difference (`gap`).
    """
    import numpy as np

    from pipeline.check.judge import judge
    from pipeline.data.device_view import DeviceView
    from pipeline.evaluate import LOGITS, outputs_of
    from pipeline.recipe import Thresholds
    from pipeline.runners.declared import preprocess_for

    terminal = Terminal()
    format = _FORMATS.get(file.suffix.lower())
    if format is None:
        raise UsageError(f"cannot evaluate {file.name}", hint=f"known: {', '.join(_FORMATS)}")
    if not file.is_file():
        raise StageError("there is no such file", where=str(file))
    recipe = None if config is None else load_recipe(config)
    given = None if recipe is None else recipe.recipe.data.preprocess
    preprocess = preprocess_for(file, format, given, terminal.note)
    if label_offset is None:
        label_offset = 0 if recipe is None else recipe.recipe.model.label_offset
    store = Store(artifacts.resolve() / ".store", terminal.note)
    samples = _images_in(_dataset_name(dataset), data, images, store, terminal)
    artifact = Artifact(file, format, digest_of_path(file), file.stat().st_size)
    reference = None

    def check(device: DeviceView | None) -> dict[str, Any]:
        nonlocal reference
        with system_errors_explained(f"running {file.name}", store.root.parent):
            entry = outputs_of(
                artifact, samples, preprocess, store, threads or _cores(), terminal, device
            )
        logits = np.load(entry.path(LOGITS), allow_pickle=False)
        _explain_offset(logits.shape[1], samples, label_offset, terminal)
        result = judge(
            logits,
            samples.labels() + label_offset,
            before=reference,
            reference=None,
            thresholds=Thresholds(),
            evidence="measured",
        )
        reference = logits
        return result.to_json()

    own = check(None)
    if view == "model":
        return {**own, "preprocess": "model"}
    terminal.note(
        "pictures that are not RGB are converted first: the program on the board would stop there"
    )
    theirs = check(DeviceView(size=preprocess.size, convert=True))
    gap = own["top1"] - theirs["top1"]
    return {**theirs, "preprocess": "device", "model_view": own, "gap": gap}


def _explain_offset(outputs: int, samples: "Samples", offset: int, terminal: Terminal) -> None:
    """Refuse an offset beyond the outputs, and tell of a class more than the dataset has."""
    classes = samples.dataset.class_count
    if int(samples.labels().max()) + offset >= outputs:
        raise UsageError(
            f"the model has {outputs} outputs, too few for labels moved by {offset}",
            where="--label-offset",
        )
    if outputs == classes + 1 and offset == 0:
        terminal.note(
            f"the model has {outputs} outputs for {classes} classes: if the first is a background "
            "class, give --label-offset 1"
        )


def _prepare(job: Job, store: Store, terminal: Terminal) -> "tuple[SampleSets, Handover]":
    """Everything a run needs, or all that is missing, before any long work."""
    handover = decide_handover(job.recipe.recipe.compile)
    missing = find_missing(job, handover, has_weights=_has_weights(job, store))
    if missing:
        raise MissingError(missing)
    samples = _draw(job, terminal)
    for line in unattainable(job, len(samples.evaluation)):
        terminal.note(line)
    return samples, handover


def unattainable(job: Job, images: int) -> list[str]:
    """Which of the recipe's limits so many evaluation images cannot show, even if none changed."""
    from pipeline.check.gate import attainable, least_images

    lines = []
    for stage in job.stages:
        thresholds = getattr(job.recipe.recipe.checks, stage.name)
        limit = thresholds.max_top1_drop
        if limit is None or attainable(images, limit, thresholds.confidence):
            continue
        least = least_images(limit, thresholds.confidence)
        needed = "no number of images can" if least is None else f"at least {least} are needed"
        lines.append(
            f"checks.{stage.name}: {images} evaluation images cannot show a drop within "
            f"{100 * limit:g} points at {thresholds.confidence:.0%}, even if none changes; {needed}"
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
    from pipeline.data.subset import make_subset

    drawn = make_subset(
        output, _dataset_name(dataset), data, images, seed, artifacts.resolve() / ".store",
        Terminal(), "real" if labels == "real" else "dataset",
    )  # fmt: skip
    return f"{output}: {len(drawn.items)} images"


def _dataset_name(word: str) -> DatasetName:
    known: tuple[DatasetName, ...] = get_args(DatasetName)
    for name in known:
        if name == word:
            return name
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    raise UsageError(f"unknown dataset {word!r}", where="--dataset", hint=hint)


def _images_in(
    name: DatasetName, folder: Path, count: int, store: Store, terminal: Terminal
) -> "Samples":
    """Every image of a folder, or `count` of them, which are drawn as a recipe draws them."""
    from pipeline.data.datasets import open_dataset
    from pipeline.data.digest_index import DigestIndex
    from pipeline.data.draw import ranked
    from pipeline.data.pool import Pool
    from pipeline.data.samples import Samples

    dataset = open_dataset(name, folder, terminal)
    index = DigestIndex(store.root / "images.json")
    try:
        pool = Pool(dataset, dataset.listing(), index, "stop", terminal)
        chosen = ranked(pool.usable, 0)[: count or None]
        pool.all_decode(chosen)
    finally:
        index.save()
    for note in (*dataset.notes(), *index.notes):
        terminal.note(note)
    return Samples("evaluation", dataset, tuple(chosen))


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
        if not (folder / name).is_file() or digest_of_path(folder / name) != digest_of_path(
            made / name
        ):
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


def _require_stage(name: str | None, chain: Sequence[Stage]) -> None:
    known = [stage.name for stage in chain]
    if name is None or name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"stages: {', '.join(known)}"
    raise UsageError(f"unknown stage {name!r}", where="--until", hint=hint)


def _cores() -> int:
    """Cores this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
