"""What a stage's result depends on: the settings it is made with, and the key it is kept under.

`plan` asks this without running anything, so it says what a run will find.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Preprocess
from pipeline.job import Job
from pipeline.process import version_of
from pipeline.recipe_file import RecipeFile
from pipeline.sources.model_folder import read_description
from pipeline.stages.stage import Settings, Stage

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets
    from pipeline.data.samples import Samples


def initial_settings(job: Job) -> Settings:
    """What is known before the first stage: a preprocessing only if the recipe gives one."""
    return Settings(job.recipe, job.weights, job.recipe.recipe.data.preprocess)


def known_settings(job: Job, samples: "SampleSets") -> Settings:
    """What is known before the first stage, once the images are."""
    from pipeline.data.class_names import own_class_names

    return replace(initial_settings(job), class_names=own_class_names(samples.evaluation.dataset))


def key_fields(
    stage: Stage, settings: Settings, taken: Mapping[str, str], samples: "SampleSets | None"
) -> dict[str, Any]:
    """Everything a stage's result depends on; `taken` are the digests of what it takes, and
    `samples` may be None for a stage that reads none.

    Not in it: paths, time, verbosity, threads, thresholds.
    """
    return {
        "version": stage.version,
        "options": dict(stage.options(settings)),
        "takes": {name: taken[name] for name in stage.takes},
        "samples": {name: _digest(getattr(samples, name)) for name in stage.samples},
        "tools": {name: version_of(name) for name in stage.tools},
    }


def preprocess_of(recipe: RecipeFile, model: Path) -> Preprocess:
    """The recipe's preprocessing, or else the model's own."""
    return recipe.recipe.data.preprocess or read_description(model).preprocess


def _digest(samples: "Samples | None") -> str | None:
    return None if samples is None else samples.digest
