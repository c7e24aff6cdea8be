"""What a run would do, stage by stage, without doing it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.engine import Job, key_fields, known_settings, preprocess_of
from pipeline.store import Store
from pipeline.synap.handover import Handover

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets


def plan(
    job: Job,
    samples: "SampleSets",
    handover: Handover,
    store: Store,
    say: Callable[[str, str], None],
) -> None:
    """Say for every stage whether it would run, and which field of its key changed."""
    settings = known_settings(job, samples)
    digests: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for stage in job.stages:
        for target in job.targets if stage.per_target else (None,):
            name = stage.name if target is None else f"{stage.name} {target.name}"
            reason = stage.skip(settings)
            if reason is not None:
                say(name, f"skipped: {reason}")
                continue
            lacking = [taken for taken in stage.takes if taken not in digests]
            if lacking:
                say(name, f"would run: its {lacking[0]} is not made yet")
                continue
            mine = (
                settings if target is None else replace(settings, target=target, handover=handover)
            )
            fields = key_fields(stage, mine, digests, samples)
            entry = store.find(stage.name, fields)
            if entry is None:
                say(name, f"would run: {store.difference(stage.name, fields)}")
                continue
            say(name, "is in the store")
            digests |= {result: entry.sha256(file) for result, file in stage.gives.items()}
            paths |= {result: entry.path(file) for result, file in stage.gives.items()}
            if settings.preprocess is None:
                settings = replace(settings, preprocess=preprocess_of(job.recipe, paths["model"]))
