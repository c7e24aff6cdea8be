"""The committed baseline of a recipe: what was measured when somebody accepted it, and on what.

It holds only what is compared and what decides whether a comparison makes sense, so that a change
of it can be read in a review. A recipe's targets share the file.
"""

import json
import tempfile
from pathlib import Path
from typing import Literal, Self

from filelock import FileLock
from pydantic import ConfigDict, Field

from pipeline.artifact import write_text
from pipeline.data.preprocess import Preprocess
from pipeline.errors import PipelineError, UsageError
from pipeline.regression.reading import (
    Bytes,
    Change,
    Count,
    Digest,
    Fraction,
    Milliseconds,
    Name,
    Read,
    Seconds,
    read_json,
)
from pipeline.regression.report_file import REFERENCE, Evidence, Report, StagePart
from pipeline.system_errors import system_errors_explained

BASELINE_SCHEMA = 1
FOLDER = Path("configs/baselines")
NO_TARGET = "none"
"""The key of runs that stopped before there was a target."""
LOCK = "synap-pipeline-baselines.lock"
LONGEST_WAIT = 60.0
"""Seconds for another `--accept` to end, which takes milliseconds."""
NOT_HELD = ("weights",)
"""Not compared: how long weights take is up to a network, and the float model is `export`."""


class NotAcceptedError(PipelineError):
    """The run did not hold its own recipe's limits, so nobody else is to be held to it."""

    exit_code = 1


class _Kept(Read):
    """Part of the baseline; nobody but `--accept` writes it, so an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class StageMark(_Kept):
    """What one stage gave. `top1` and `top1_drop` are fractions of `images`; `latency_ms` is an
    image's time on a board, where the stage was run on one."""

    sha256: Digest
    bytes: Bytes
    seconds: Seconds
    images: int = Field(ge=0)
    top1: Fraction | None
    top1_drop: Change | None
    evidence: Evidence
    latency_ms: Milliseconds | None

    @classmethod
    def of(cls, stage: StagePart) -> Self | None:
        """The mark of a stage of a report; None of one that was skipped."""
        if stage.artifact is None:
            return None
        return cls(
            sha256=stage.artifact.sha256,
            bytes=stage.artifact.bytes,
            seconds=stage.seconds,
            images=stage.check.images,
            top1=stage.check.top1,
            top1_drop=stage.check.top1_drop,
            evidence=stage.check.evidence,
            latency_ms=stage.check.latency_ms,
        )


class ImagesMark(_Kept):
    """The identities of the sets of images."""

    calibration: Digest
    selection: Digest | None
    evaluation: Digest


class MachineMark(_Kept):
    """Where it was measured."""

    machine: str
    cpu_features: tuple[str, ...]
    threads: Count
    versions: dict[str, str | None]


class TargetMark(_Kept):
    """What one target's run gave, and under which circumstances."""

    images: ImagesMark
    preprocess: Preprocess
    delegate: str | None
    handoff: str | None
    measured_on: MachineMark
    runs_integers: bool
    stages: dict[Name, StageMark]


class Baseline(_Kept):
    """The file."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    recipe: Name
    targets: dict[Name, TargetMark]

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=True, populate_by_name=True
    )


def target_key(report: Report) -> str:
    """Under which key of `targets` a report belongs."""
    return report.target or NO_TARGET


def baseline_path(report: Report) -> Path:
    """Where the baseline of a report's recipe is, if nobody says otherwise."""
    return FOLDER / f"{report.recipe}.json"


def read_baseline(path: Path) -> Baseline:
    """Read a baseline. Raises UsageError for one of another schema, else StageError."""
    hint = f"`pipeline gate REPORT.json --baseline {path} --accept` writes one"
    return read_json(path, Baseline, "a baseline of `pipeline gate`", BASELINE_SCHEMA, hint)


def mark_of(report: Report) -> TargetMark:
    """What a baseline keeps of a report."""
    marks = {
        stage.name: mark
        for stage in report.stages
        if stage.name not in NOT_HELD and (mark := StageMark.of(stage)) is not None
    }
    compiled, where = report.compile, report.environment
    selection = report.data.selection
    return TargetMark(
        images=ImagesMark(
            calibration=report.data.calibration.sha256,
            selection=None if selection is None else selection.sha256,
            evaluation=report.data.evaluation.sha256,
        ),
        preprocess=report.data.preprocess,
        delegate=None if compiled is None else compiled.delegate,
        handoff=None if compiled is None else compiled.handoff,
        measured_on=MachineMark(
            machine=where.machine,
            cpu_features=where.cpu_features,
            threads=where.threads,
            versions=where.versions,
        ),
        runs_integers=report.runs_integers,
        stages=marks,
    )


def accept(report: Report, path: Path, *, even_failed: bool = False) -> Baseline:
    """Write the report into the baseline at `path`, beside the other targets that are there.

    Raises NotAcceptedError for a run whose own verdict is FAIL or SKIPPED, unless `even_failed`.
    Raises UsageError for a file that is another recipe's, and StageError for one that is damaged:
    neither is overwritten. A run that came to no end, or measured no float model, is a UsageError, too: it
    is nothing to hold others to. Of two at once the second waits, so that neither's target is lost.
    """
    mark = mark_of(report)
    _require_acceptable(report, mark)
    if not even_failed:
        _require_held(report)
    with system_errors_explained(f"writing {path}", path.parent), _alone():
        targets = _accepted_before(report, path)
        baseline = Baseline(recipe=report.recipe, targets={**targets, target_key(report): mark})
        write_text(path, baseline_text(baseline))
    return baseline


def _accepted_before(report: Report, path: Path) -> dict[str, TargetMark]:
    if not path.exists():
        return {}
    before = read_baseline(path)
    if before.recipe != report.recipe:
        raise UsageError(
            f"is the baseline of {before.recipe}, and the report is of {report.recipe}",
            where=str(path),
            hint=f"leave out --baseline for {baseline_path(report)}, or name another file",
        )
    return dict(before.targets)


def _alone() -> FileLock:
    """One lock for all baselines, in the system's temporary folder: it is left behind, which does
    not do beside files that are committed. Any user may take it, whoever made it."""
    return FileLock(Path(tempfile.gettempdir()) / LOCK, timeout=LONGEST_WAIT, mode=0o666)


def _require_acceptable(report: Report, mark: TargetMark) -> None:
    if report.failure is not None:
        raise UsageError(
            f"a run that failed cannot be accepted: {report.failure.splitlines()[0]}",
            where="--accept",
            hint="accept the report of a run that came to its end",
        )
    if REFERENCE not in mark.stages or mark.stages[REFERENCE].top1 is None:
        raise UsageError(
            f"the report has no accuracy of the float model ({REFERENCE})",
            where="--accept",
            hint="run without --until, or until a later stage",
        )


def _require_held(report: Report) -> None:
    """Raises NotAcceptedError for a verdict that made `pipeline run` exit with 1."""
    if report.verdict not in ("FAIL", "SKIPPED"):
        return
    checks = [(stage.name, stage.check) for stage in report.stages]
    reasons = [
        f"{name}: {check.reason}"
        for name, check in checks
        if check.required and check.verdict == report.verdict
    ]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    raise NotAcceptedError(
        f"the run's own verdict is {report.verdict}{why}: not accepted",
        where="--accept",
        hint="--accept-failed does it all the same",
    )


def baseline_text(baseline: Baseline) -> str:
    """The file's text: sorted keys and a line for each value, so that equal baselines are equal
    files and a review shows the lines that changed."""
    data = baseline.model_dump(mode="json", by_alias=True)
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + "\n"
