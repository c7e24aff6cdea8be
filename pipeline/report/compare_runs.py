"""Two runs beside each other: what both measured, and in what they differ.

Nothing is judged here; that is the gate's part (`regression/`), which holds a run to a baseline of
the same recipe. Two runs may be of other recipes, targets or machines. What cannot be compared is
said: accuracies on other evaluation images are two samples of two populations, and their difference
is no statement about the models. On the same images it comes with an interval where the float model
is the same (`compare_change.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from pipeline.regression.baseline import mark_of
from pipeline.regression.likeness import cpu_kind
from pipeline.regression.report_file import REFERENCE
from pipeline.report.compare_change import change_interval, summary_of
from pipeline.report.report_read import REPORT, ShownReport, ShownStage, read_shown
from pipeline.report.run_differences import Difference, in_data, in_environment, in_recipe

SCHEMA = 1
"""Version of the JSON form."""


@dataclass(frozen=True)
class Run:
    """A run; `name` is its recipe and target, or where it stopped before there was one."""

    name: str
    path: str
    verdict: str
    failure: str | None
    report: ShownReport

    @property
    def headline(self) -> str:
        """The verdict for people: `reported` where nothing was demanded, a PASS for programs only."""
        demanded = any(stage.check.required for stage in self.report.stages)
        return self.verdict if demanded or self.failure else "reported"


@dataclass(frozen=True)
class Numbers:
    """What one run says of a stage. Accuracies and drops are fractions, sizes bytes."""

    images: int
    top1: float | None
    top1_drop: float | None
    confidence_interval: tuple[float, float] | None
    agreement: float | None
    sqnr_db: float | None
    flip_rate: float | None
    bytes: int | None
    seconds: float | None
    latency_ms: float | None
    verdict: str
    required: bool
    evidence: str
    reason: str
    sha256: str | None


@dataclass(frozen=True)
class StagePair:
    """A stage of both runs; None where a run has no such stage. `unlike` is why its accuracies
    cannot be compared, and `elsewhere` why its times cannot; both may be empty. `same_float` says
    that the runs have the same float model."""

    name: str
    a: Numbers | None
    b: Numbers | None
    unlike: str
    elsewhere: str
    same_float: bool

    @property
    def same_file(self) -> bool:
        """Whether both gave the very same artifact."""
        return self.a is not None and self.b is not None and self.a.sha256 == self.b.sha256

    @property
    def top1_change(self) -> float | None:
        """Top-1 of B less that of A, where that means something."""
        if self.unlike or self.a is None or self.b is None:
            return None
        return None if self.a.top1 is None or self.b.top1 is None else self.b.top1 - self.a.top1

    @property
    def change_interval(self) -> tuple[float, float] | None:
        """What the images leave open of that, where it can be said; of the same file there is
        nothing to say."""
        if self.unlike or self.same_file or not self.same_float:
            return None
        return None if self.a is None or self.b is None else change_interval(self.a, self.b)


@dataclass(frozen=True)
class Comparison:
    """Both runs, stage by stage. `warnings` are why numbers that stand beside each other are not
    comparable, the gravest first."""

    a: Run
    b: Run
    stages: tuple[StagePair, ...]
    warnings: tuple[str, ...]
    recipe: tuple[Difference, ...]
    data: tuple[Difference, ...]
    environment: tuple[Difference, ...]

    @property
    def summary(self) -> str:
        """What it comes to, in a sentence; empty where nothing can be said."""
        return summary_of(self)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON data, without the reports themselves."""
        plain = {
            name: [asdict(value) for value in getattr(self, name)]
            for name in ("recipe", "data", "environment")
        }
        runs = {
            side: {k: v for k, v in vars(getattr(self, side)).items() if k != "report"}
            for side in ("a", "b")
        }
        stages = [
            {
                **asdict(pair),
                "same_file": pair.same_file,
                "top1_change": pair.top1_change,
                "change_interval": pair.change_interval,
            }
            for pair in self.stages
        ]
        said = {"summary": self.summary, "warnings": self.warnings}
        return {"schema": SCHEMA, **runs, **said, "stages": stages, **plain}


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two `report.json`, each given itself or by the folder it is in.

    Raises UsageError for a report of another schema, StageError for one that is missing or damaged.
    """
    return comparison_of(_read(first), _read(second))


def comparison_of(a: Run, b: Run) -> Comparison:
    """Everything that can be said of two runs."""
    stages = tuple(_stages(a.report, b.report))
    return Comparison(
        a,
        b,
        stages=stages,
        warnings=tuple(_warnings(a.report, b.report, stages)),
        recipe=tuple(in_recipe(a.report, b.report)),
        data=tuple(in_data(a.report, b.report)),
        environment=tuple(in_environment(a.report, b.report)),
    )


def _read(path: Path) -> Run:
    file = path / REPORT if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        inside = sorted(str(p.parent) for p in path.glob(f"*/{REPORT}"))
        hint = f"did you mean {' or '.join(inside)}?" if inside else "run the recipe first"
        raise StageError(f"has no {REPORT}", where=str(path), hint=hint)
    report = read_shown(file)
    until = f"until {report.stages[-1].name}"
    name = f"{report.recipe} {report.target or until}"
    return Run(name, str(path), report.verdict, report.failure, report)


def _stages(a: ShownReport, b: ShownReport) -> Iterator[StagePair]:
    names = [stage.name for stage in a.stages]
    # A stage that only B has comes behind the one that is before it in B.
    for before, stage in zip((None, *b.stages), b.stages, strict=False):
        if stage.name not in names:
            names.insert(0 if before is None else names.index(before.name) + 1, stage.name)
    elsewhere = _elsewhere(a, b)
    floats = [_numbers(report.shown_stage(REFERENCE)) for report in (a, b)]
    digests = {None if one is None else one.sha256 for one in floats}
    same_float = len(digests) == 1 and None not in digests
    for name in names:
        old, new = _numbers(a.shown_stage(name)), _numbers(b.shown_stage(name))
        yield StagePair(name, old, new, _unlike(a, b, old, new), elsewhere, same_float)


def _numbers(stage: ShownStage | None) -> Numbers | None:
    if stage is None:
        return None
    check, artifact = stage.check, stage.artifact
    return Numbers(
        images=check.images,
        top1=check.top1,
        top1_drop=check.top1_drop,
        confidence_interval=check.confidence_interval,
        agreement=check.agreement,
        sqnr_db=check.sqnr_db,
        flip_rate=check.flip_rate,
        bytes=None if artifact is None else artifact.bytes,
        seconds=None if artifact is None else stage.seconds,
        latency_ms=check.latency_ms,
        verdict=check.verdict,
        required=check.required,
        evidence=check.evidence,
        reason=check.reason,
        sha256=None if artifact is None else artifact.sha256,
    )


def _unlike(a: ShownReport, b: ShownReport, old: Numbers | None, new: Numbers | None) -> str:
    if old is None or new is None or old.top1 is None or new.top1 is None:
        return ""
    if a.data.evaluation.sha256 != b.data.evaluation.sha256:
        return "other evaluation images"
    if old.images != new.images:
        return f"judged on {old.images} images and on {new.images}"
    return ""


def _warnings(a: ShownReport, b: ShownReport, stages: Sequence[StagePair]) -> Iterator[str]:
    sets = a.data.evaluation, b.data.evaluation
    same_images = sets[0].sha256 == sets[1].sha256
    if not same_images:
        said = " and ".join(f"{one.images} of {one.dataset}" for one in sets)
        yield f"other evaluation images ({said}): the accuracies are NOT comparable"
    for pair in stages:
        if pair.unlike and same_images:
            yield f"{pair.name} was {pair.unlike}: its accuracies are NOT comparable"
        if pair.a is None or pair.b is None or None in (pair.a.top1, pair.b.top1):
            continue
        if pair.a.evidence != pair.b.evidence:
            yield f"{pair.name}: the accuracy is {pair.a.evidence} in A and {pair.b.evidence} in B"
    before, now = mark_of(a), mark_of(b)
    kinds = cpu_kind(before.measured_on), cpu_kind(now.measured_on)
    if before.runs_integers and now.runs_integers and kinds[0] != kinds[1]:
        yield f"integer models were run on other kinds of CPU: {kinds[0]} and {kinds[1]}"
    if elsewhere := _elsewhere(a, b):
        yield f"the runs were on {elsewhere}: their times are NOT comparable"


def _elsewhere(a: ShownReport, b: ShownReport) -> str:
    here, there = a.environment, b.environment
    if here.machine != there.machine or {*here.cpu_features} != {*there.cpu_features}:
        return "other kinds of machine"
    if here.threads != there.threads:
        return f"{here.threads} thread{'' if here.threads == 1 else 's'} and on {there.threads}"
    return ""
