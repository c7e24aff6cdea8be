"""A model file that the user brings: that it is there, and is the one that the recipe means."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifact import digest_of_path
from pipeline.errors import Missing, MissingError, StageError
from pipeline.stages.stage import Settings


def given_file(settings: Settings) -> Path:
    """The file, in stages that cannot run without one. Raises MissingError where there is none."""
    missing = missing_file(settings, "model")
    if settings.weights is None or missing:
        raise MissingError(missing)
    return settings.weights


def missing_file(settings: Settings, kind: str) -> list[Missing]:
    """What lacks of a file of this kind (`TFLite`)."""
    if settings.weights is None:
        return [Missing(f"the {kind} file", "give it with WEIGHTS=file or --weights file")]
    if not settings.weights.is_file():
        return [Missing(f"the {kind} file: there is no {settings.weights}", "mend the path")]
    return []


def file_options(settings: Settings) -> Mapping[str, Any]:
    """Options of a stage that reads the file; StageError where the recipe expects another digest."""
    path, model = given_file(settings), settings.recipe.recipe.model
    digest = digest_of_path(path)
    _require(path, digest, model.sha256)
    if model.sha1 is not None:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.sha1(usedforsecurity=False))
        _require(path, found.hexdigest(), model.sha1)
    return {"file": digest, "preprocess": settings.model_input.model_dump(mode="json")}


def _require(path: Path, digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise StageError(
            f"has the digest {digest}, and the recipe expects {expected}", where=str(path)
        )
