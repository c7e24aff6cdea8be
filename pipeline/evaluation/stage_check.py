"""The check of a stage: its artifact on the evaluation images, beside the stage before and the float
reference, on as many of them as the verdict takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.artifact import Artifact
from pipeline.board.board import Board
from pipeline.board.outputs import board_of, board_outputs, median_latency
from pipeline.check.gate import Paired, decide
from pipeline.check.result import Check, Evidence, skipped
from pipeline.check.sequential import anytime_interval
from pipeline.check.verdicts import judge_stored
from pipeline.evaluation.evaluator import LOGITS, Evaluator
from pipeline.evaluation.looks import Looks, Outputs
from pipeline.recipe import Thresholds
from pipeline.stages import REFERENCE
from pipeline.stages.stage import Settings, Stage
from pipeline.store import Entry


@dataclass(frozen=True)
class Made:
    """What a stage made. `stand_in` is what it made to be run in the artifact's place, or why it has
    nothing for that, so that only a board can run it."""

    stage: Stage
    artifact: Artifact
    stand_in: Artifact | str | None = None


def check_stage(
    made: Made,
    settings: Settings,
    earlier: Mapping[str, Outputs],
    looks: Looks,
    evaluator: Evaluator,
    least: int = 1,
) -> tuple[Outputs | None, Check]:
    """The artifact's outputs and the verdict on them, which is not asked for before `least` parts;
    `earlier` are those of the stages before, in their order."""
    stage, board = made.stage, _board(made.stage, settings)
    thresholds: Thresholds = getattr(settings.recipe.recipe.checks, stage.name)
    if board is None and isinstance(made.stand_in, str):
        return None, skipped(made.stand_in, thresholds, "predicted")
    outputs, evidence = _outputs(made, settings, earlier, looks, board, evaluator)
    against = stage.against(settings) or next(reversed([*earlier]), None)
    is_reference = stage.name == REFERENCE
    for look in range(least, len(looks.ends) + 1):
        logits = outputs.first(look)
        check = judge_stored(
            evaluator.store,
            looks.first(look),
            logits=logits,
            before=_first(None if against is None else earlier[against], look),
            reference=logits if is_reference else _first(earlier.get(REFERENCE), look),
            label_offset=settings.recipe.recipe.model.label_offset,
            thresholds=thresholds,
            evidence=evidence,
            file=LOGITS,
            latency_ms=None if board is None else median_latency(logits),
            anytime=looks.auto,
        )
        if look == len(looks.ends) or _is_certain(check, thresholds):
            break
    return outputs, check


def _outputs(
    made: Made,
    settings: Settings,
    earlier: Mapping[str, Outputs],
    looks: Looks,
    board: Board | None,
    evaluator: Evaluator,
) -> tuple[Outputs, Evidence]:
    """The logits of the artifact itself, on a board or here, or of what stands in for it."""
    preprocess = settings.model_input
    if board is not None:
        store, progress = evaluator.store, evaluator.progress
        return Outputs(
            looks,
            lambda part: board_outputs(made.artifact, part, preprocess, store, board, progress),
        ), "board"
    stand_in = made.stage.stand_in(settings)
    if stand_in is not None:
        return earlier[stand_in], "predicted"
    evidence: Evidence = "measured"
    artifact = made.artifact
    if isinstance(made.stand_in, Artifact):
        artifact, evidence = made.stand_in, "predicted"
    return Outputs(looks, lambda part: evaluator.outputs(artifact, part, preprocess)), evidence


def _first(outputs: Outputs | None, parts: int) -> tuple[Entry, ...] | None:
    return None if outputs is None else outputs.first(parts)


def _is_certain(check: Check, thresholds: Thresholds) -> bool:
    """Whether more images would not change what is demanded of drop and top-1; where nothing is, the
    first part is enough to report on."""
    limit, interval = thresholds.max_top1_drop, check.confidence_interval
    if limit is not None and interval is not None and decide(interval, limit) == "UNDECIDED":
        return False
    if thresholds.min_top1 is None or check.top1 is None:
        return True
    # Wrong answers are what is lost against a model that is always right.
    wrong = Paired(check.images, check.images - round(check.top1 * check.images), 0)
    errors = anytime_interval(wrong, thresholds.confidence)
    return decide(errors, 1.0 - thresholds.min_top1) != "UNDECIDED"


def _board(stage: Stage, settings: Settings) -> Board | None:
    """The board that runs what the stage makes, where the recipe has one for its target."""
    device = settings.recipe.recipe.device
    if device is None or settings.target is None or settings.target.name != device.target:
        return None
    return board_of(device, settings.recipe.folder) if stage.per_target else None
