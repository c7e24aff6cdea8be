"""Source `checkpoint`: a local weights file for an architecture that timm has."""

from pathlib import Path
from typing import Any

from pipeline import recipe
from pipeline.errors import Missing
from pipeline.progress import Progress
from pipeline.sources.adopt import adopt, file_identity, given_file, missing_file, no_file
from pipeline.sources.model_folder import ModelDescription

_HINT = "give it by WEIGHTS=file, --weights file or model.weights in the recipe"


def missing(model: recipe.Model, weights: Path | None) -> list[Missing]:
    """What a run would lack: the file, or any word of it."""
    return [no_file(model, _HINT)] if weights is None else missing_file(weights)


def identity(model: recipe.Model, weights: Path | None) -> dict[str, Any]:
    """What decides the artifact: the architecture and the file's content."""
    return file_identity(model, given_file(model, weights, _HINT))


def produce(
    model: recipe.Model, weights: Path | None, folder: Path, progress: Progress
) -> ModelDescription:
    """Write the artifact for the file into `folder`; it may have any number of classes.

    Raises UsageError for an unknown architecture, StageError for everything about the file.
    """
    from pipeline.sources.timm_models import configuration

    path = given_file(model, weights, _HINT)
    config = configuration(model.name)
    return adopt(model, config, path, folder, progress, num_classes=model.num_classes)
