"""`weights`: the recipe's model with its weights, as a folder of safetensors and a description."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import Missing
from pipeline.sources import SOURCES
from pipeline.stages.stage import Settings, Stage, Work

MODEL = "model"


def _options(settings: Settings) -> Mapping[str, Any]:
    model = settings.recipe.recipe.model
    # Only by being in the key is a demand also made of a model that is in the store already.
    demanded = {} if model.sha256 is None else {"demanded_sha256": model.sha256}
    identity = SOURCES[model.source].identity(model, settings.weights)
    return {"source": model.source, **identity, **demanded}


def _make(work: Work) -> Mapping[str, Any]:
    model = work.settings.recipe.recipe.model
    (work.folder / MODEL).mkdir()
    description = SOURCES[model.source].produce(
        model, work.settings.weights, work.folder / MODEL, work.progress
    )
    return description.model_dump(mode="json")


def _missing(settings: Settings) -> list[Missing]:
    model = settings.recipe.recipe.model
    return SOURCES[model.source].missing(model, settings.weights)


STAGE = Stage(
    name="weights",
    version=1,
    takes=(),
    gives={"model": MODEL},
    artifact="model",
    format="torch",
    options=_options,
    make=_make,
    missing=_missing,
)
