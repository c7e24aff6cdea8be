"""Run the chain of stages, ask after each what it cost, and keep everything in the store.

The chain is a list of stages (`stages/__init__.py`). For each the engine computes the key of what
its result depends on, makes the result where the store has none, runs it on the evaluation images,
and judges it against the stage before and against the float reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.check.result import Check, skipped, with_faults
from pipeline.dependencies import key_fields, known_settings, preprocess_of
from pipeline.deviation import require_one_deviation, require_one_deviation_in
from pipeline.errors import NoFormError, PipelineError
from pipeline.evaluation.deployment_gap import deployment_gap
from pipeline.evaluation.evaluator import Evaluator
from pipeline.evaluation.first_look import cautions_at_first_look
from pipeline.evaluation.looks import Looks, Outputs
from pipeline.evaluation.published_check import check_first_stage
from pipeline.evaluation.stage_check import Made, check_stage
from pipeline.job import Job
from pipeline.process import measured
from pipeline.progress import Progress, Remembering
from pipeline.stages.stage import Settings, Stage, Work
from pipeline.store import Entry, Store
from pipeline.synap.handover import Handover
from pipeline.system_errors import system_errors_explained
from pipeline.targets import Target

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets


@dataclass(frozen=True)
class StageResult:
    """A stage that was carried out: its artifact, its check, and what it took. One that was skipped
    has no artifact, and its check says why."""

    name: str
    cached: bool
    seconds: float
    peak_rss_mb: float
    artifact: Artifact | None
    check: Check
    details: Mapping[str, Any]
    options: Mapping[str, Any]
    """What of the recipe the result depends on."""


@dataclass(frozen=True)
class TargetResult:
    """The whole chain for one target; `failure` is why it ended early, where it did."""

    target: Target | None
    stages: tuple[StageResult, ...]
    failure: PipelineError | None = None


@dataclass(frozen=True)
class _State:
    """What is known so far on the way through the chain."""

    settings: Settings
    results: Mapping[str, tuple[Path, str]]
    """Path and digest of every result, by name."""
    artifacts: Mapping[str, Artifact]
    outputs: Mapping[str, Outputs]
    """The logits of every stage so far, in order."""


def run(
    job: Job, samples: "SampleSets", handover: Handover, store: Store, progress: Progress
) -> tuple[TargetResult, ...]:
    """Carry out the chain for every target; stages that do not depend on it run once.

    A target whose own stages fail does not stop the others; a stage that all share fails for all.
    """
    shared = [stage for stage in job.stages if not stage.per_target]
    own = [stage for stage in job.stages if stage.per_target]
    state = _State(known_settings(job, samples), {}, {}, {})
    common: list[StageResult] = []
    try:
        for stage in shared:
            with progress.bar(stage.name, 0):
                state, result = _advance(job, stage, state, samples, store, progress)
            common.append(result)
    except PipelineError as error:
        concerned = job.targets if own else (None,)
        return tuple(TargetResult(target, tuple(common), error) for target in concerned)
    if not own:
        return (TargetResult(None, tuple(common)),)
    outcomes = []
    for target in job.targets:
        settings = replace(state.settings, target=target, handover=handover)
        ours, results = replace(state, settings=settings), list(common)
        failure = None
        try:
            for stage in own:
                with progress.bar(f"{stage.name} {target.name}", 0):
                    ours, result = _advance(job, stage, ours, samples, store, progress)
                results.append(result)
        except PipelineError as error:
            failure = error
        outcomes.append(TargetResult(target, tuple(results), failure))
    return tuple(outcomes)


def _advance(
    job: Job,
    stage: Stage,
    state: _State,
    samples: "SampleSets",
    store: Store,
    progress: Progress,
) -> tuple[_State, StageResult]:
    """Carry out one stage, then check it."""
    reason = stage.skip(state.settings)
    if reason is not None:
        return state, _skipped(job, stage, reason)
    taken = {name: state.results[name] for name in stage.takes}
    digests = {name: digest for name, (_, digest) in taken.items()}
    with system_errors_explained(stage.name, job.artifacts):
        fields = key_fields(stage, state.settings, digests, samples)

    def build(folder: Path) -> Mapping[str, Any]:
        heard = Remembering(progress)
        work = Work(
            folder,
            {name: path for name, (path, _) in taken.items()},
            state.settings,
            samples,
            store,
            job.threads,
            heard,
        )
        with measured() as cost:
            details = stage.make(work)
        return {
            "details": dict(details) | {"notes": heard.notes},
            "seconds": cost.seconds,
            "peak_rss_mb": cost.peak_rss_mb,
        }

    with system_errors_explained(stage.name, job.artifacts):
        try:
            entry = store.get(stage.name, fields, build)
        except NoFormError as error:
            behind = job.stages[job.stages.index(stage) + 1 :]
            if any(name in later.takes for later in behind for name in stage.gives):
                raise
            return state, _skipped(job, stage, f"{error.where}: {error.what}".removeprefix(": "))
    results = {name: (entry.path(file), entry.sha256(file)) for name, file in stage.gives.items()}
    state = replace(state, results={**state.results, **results})
    state = replace(state, settings=_with_preprocess(job, state))
    if "graph" in stage.gives:
        require_one_deviation_in(job.recipe.recipe, job.stages, state.results["graph"][0])
    file = stage.gives[stage.artifact]
    artifact = Artifact(entry.path(file), stage.format, entry.sha256(file), entry.size(file))
    details = dict(entry.about["details"])
    with system_errors_explained(f"checking {stage.name}", job.artifacts):
        made = Made(stage, artifact, _own_stand_in(entry))
        evaluator = Evaluator(store, job.threads, progress, job.engine)
        state, check = _judge(job, made, state, samples, evaluator)
        gap = _gap(job, made, check, state, samples, evaluator)
        if stage is job.stages[0]:
            details["cautions"] = cautions_at_first_look(
                store, check, state.outputs.get(stage.name), samples.evaluation,
                job.recipe.recipe.model.label_offset,
            )  # fmt: skip
    if gap is not None:
        details["device_view"] = gap
    result = StageResult(
        stage.name, entry.cached, entry.about["seconds"], entry.about["peak_rss_mb"], artifact,
        with_faults(check, details.get("faults", ())), details, entry.fields["options"],
    )  # fmt: skip
    return state, result


def _judge(
    job: Job, made: Made, state: _State, samples: "SampleSets", evaluator: Evaluator
) -> tuple[_State, Check]:
    """The verdict on what a stage made, and its logits for the stages behind it."""
    name = made.stage.name
    looks = _looks(job, samples)
    if made.stage is job.stages[0]:
        model = state.results.get("model")
        folder = None if model is None else model[0]
        outputs, check = check_first_stage(made, state.settings, folder, looks, evaluator)
    else:
        outputs, check = check_stage(made, state.settings, state.outputs, looks, evaluator)
    runs_here = made.stand_in if isinstance(made.stand_in, Artifact) else made.artifact
    state = replace(state, artifacts={**state.artifacts, name: runs_here})
    if outputs is not None:
        state = replace(state, outputs={**state.outputs, name: outputs})
    return state, check


def _gap(
    job: Job,
    made: Made,
    check: Check,
    state: _State,
    samples: "SampleSets",
    evaluator: Evaluator,
) -> dict[str, Any] | None:
    """What the board's way of preparing pictures costs the compiled model, or what stands in for it."""
    if not made.stage.per_target or not job.recipe.recipe.compile.device_view:
        return None
    runs_here = made.stage.stand_in(state.settings) or made.stage.name
    if runs_here == made.stage.name and check.evidence == "board":
        return None  # the logits at hand are not those of anything that is run here
    if runs_here not in state.outputs:
        return None
    looks = _looks(job, samples)
    seen = looks.ends.index(check.images) + 1
    return deployment_gap(
        state.artifacts[runs_here], looks.first(seen), state.outputs[runs_here].first(seen),
        state.settings, evaluator, anytime=looks.auto,
    )  # fmt: skip


def _own_stand_in(entry: Entry) -> Artifact | str | None:
    """What a stage made to be run in its artifact's place, or why it has nothing for that."""
    said = entry.about["details"].get("stand_in")
    if said is None or "reason" in said:
        return None if said is None else str(said["reason"])
    file = said["file"]
    return Artifact(entry.path(file), said["format"], entry.sha256(file), entry.size(file))


def _looks(job: Job, samples: "SampleSets") -> Looks:
    return Looks(samples.evaluation, auto=job.recipe.recipe.data.evaluation.images == "auto")


def _skipped(job: Job, stage: Stage, reason: str) -> StageResult:
    """A stage without a result, and why."""
    check = skipped(reason, getattr(job.recipe.recipe.checks, stage.name), "measured")
    return StageResult(stage.name, False, 0.0, 0.0, None, check, {}, {})


def _with_preprocess(job: Job, state: _State) -> Settings:
    """Once the model is there its own preprocessing is known; the recipe's wins over it."""
    if state.settings.preprocess is not None:
        return state.settings
    preprocess = preprocess_of(state.settings.recipe, state.results["model"][0])
    require_one_deviation(job.recipe.recipe, job.stages, preprocess)
    return replace(state.settings, preprocess=preprocess)
