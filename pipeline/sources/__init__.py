"""Where a model and its weights come from; a new source is one module and one line here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pipeline import recipe
from pipeline.errors import Missing
from pipeline.progress import Progress
from pipeline.sources import checkpoint_source, digits_source, mindcv_source, timm_source
from pipeline.sources.model_folder import ModelDescription


class Source(Protocol):
    """What a source's module offers. `weights` is the local file by `--weights` or, resolved
    against the recipe's folder, by `model.weights`; None if there is neither."""

    def missing(self, model: recipe.Model, weights: Path | None, /) -> list[Missing]:
        """What producing would lack, found within seconds and without torch."""

    def identity(self, model: recipe.Model, weights: Path | None, /) -> dict[str, Any]:
        """JSON data that decides the artifact: part of its key in the store."""

    def produce(
        self, model: recipe.Model, weights: Path | None, folder: Path, progress: Progress, /
    ) -> ModelDescription:
        """Write the artifact (`model_folder`) into `folder`, which exists."""


SOURCES: Mapping[recipe.SourceName, Source] = {
    "timm": timm_source,
    "checkpoint": checkpoint_source,
    "mindcv": mindcv_source,
    "digits": digits_source,
}
