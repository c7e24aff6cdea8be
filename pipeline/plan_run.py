"""What a run would do, stage by stage, without doing it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dependencies import key_fields, known_settings, preprocess_of
from pipeline.deviation import require_one_deviation
from pipeline.job import Job
from pipeline.store import Change, Store
from pipeline.synap.handover import Handover

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets

_WORDS = {"run": "would run", "skipped": "skipped", "stored": "is in the store"}


@dataclass(frozen=True)
class StagePlan:
    """What would become of a stage, and why."""

    stage: str
    """With its target, where it has one: `compile sl1680`."""
    state: Literal["run", "stored", "skipped"]
    reason: str = ""
    changed: tuple[Change, ...] = ()
    """Where it would run: how its key differs from that of the nearest result in the store."""

    def __str__(self) -> str:
        return f"{_WORDS[self.state]}: {self.reason}" if self.reason else _WORDS[self.state]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(job: Job, samples: "SampleSets", handover: Handover, store: Store) -> Iterator[StagePlan]:
    """For every stage whether it would run, and which fields of its key changed. Raises UsageError
    where a run would, as soon as what is in the store shows it."""
    settings = known_settings(job, samples)
    digests: dict[str, str] = {}
    for stage in job.stages:
        for target in job.targets if stage.per_target else (None,):
            name = stage.name if target is None else f"{stage.name} {target.name}"
            reason = stage.skip(settings)
            if reason is not None:
                yield StagePlan(name, "skipped", reason)
                continue
            lacking = [taken for taken in stage.takes if taken not in digests]
            if lacking:
                yield StagePlan(name, "run", f"its {lacking[0]} is not made yet")
                continue
            mine = (
                settings if target is None else replace(settings, target=target, handover=handover)
            )
            fields = key_fields(stage, mine, digests, samples)
            entry = store.find(stage.name, fields)
            if entry is None:
                changes = store.changes(stage.name, fields)
                yield StagePlan(
                    name, "run", store.difference(stage.name, fields), tuple(changes or ())
                )
                continue
            yield StagePlan(name, "stored")
            digests |= {result: entry.sha256(file) for result, file in stage.gives.items()}
            if settings.preprocess is None:
                model = entry.path(stage.gives["model"])
                preprocess = preprocess_of(job.recipe, model)
                require_one_deviation(job.recipe.recipe, job.stages, preprocess)
                settings = replace(settings, preprocess=preprocess)
