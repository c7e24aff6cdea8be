"""Source `checkpoint`: a local weights file for an architecture that timm has."""

from pathlib import Path
from typing import Any

from pipeline import recipe
from pipeline.errors import Missing, StageError
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.sources.adopt import adopt, digest_of_file, missing_file
from pipeline.sources.model_folder import ModelDescription, Origin

_HINT = "give it by WEIGHTS=file, --weights file or model.weights in the recipe"


def missing(model: recipe.Model, weights: Path | None) -> list[Missing]:
    """What a run would lack: the file, or any word of it."""
    if weights is None:
        return [Missing(f"source 'checkpoint' needs a weights file of {model.name}", _HINT)]
    return missing_file(weights)


def identity(model: recipe.Model, weights: Path | None) -> dict[str, Any]:
    """What decides the artifact: the architecture and the file's content."""
    return {
        "source": model.source,
        "name": model.name,
        "num_classes": model.num_classes,
        "timm": version_of("timm"),
        "file": digest_of_file(_given(model, weights)),
    }


def produce(
    model: recipe.Model, weights: Path | None, folder: Path, progress: Progress
) -> ModelDescription:
    """Write the artifact for the file into `folder`; it may have any number of classes.

    Raises UsageError for an unknown architecture, StageError for everything about the file.
    """
    from pipeline.sources.timm_models import configuration

    path = _given(model, weights)
    config = configuration(model.name)
    return adopt(
        model,
        config,
        path,
        folder,
        progress,
        sha256=digest_of_file(path),
        num_classes=model.num_classes,
        origin=Origin(file=path.name),
    )


def _given(model: recipe.Model, weights: Path | None) -> Path:
    if weights is None:
        what = f"source 'checkpoint' needs a weights file of {model.name}"
        raise StageError(what, where="model.weights", hint=_HINT)
    return weights
