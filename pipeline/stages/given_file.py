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
    missing = _absent(settings, "model")
    if settings.weights is None or missing:
        raise MissingError(missing)
    return settings.weights


def missing_file(settings: Settings, kind: str) -> list[Missing]:
    """What lacks of a file of this kind (`TFLite`): there is none, or another than demanded."""
    absent = _absent(settings, kind)
    if absent:
        return absent
    try:
        _require_demanded(settings)
    except StageError as error:
        return [Missing(f"the {kind} file {error.where}: {error.what}", error.hint)]
    return []


def _absent(settings: Settings, kind: str) -> list[Missing]:
    if settings.weights is None:
        return [Missing(f"the {kind} file", "give it with WEIGHTS=file or --weights file")]
    if not settings.weights.is_file():
        return [Missing(f"the {kind} file: there is no {settings.weights}", "mend the path")]
    return []


def file_options(settings: Settings) -> Mapping[str, Any]:
    """Options of a stage that reads the file; StageError where the recipe demands another file."""
    digest = _require_demanded(settings)
    return {"file": digest, "preprocess": settings.model_input.model_dump(mode="json")}


def _require_demanded(settings: Settings) -> str:
    """The file's sha256. Raises StageError where the recipe has another, or another sha1."""
    path, model = given_file(settings), settings.recipe.recipe.model
    try:
        sha256 = digest_of_path(path)
        _require(path, "sha256", sha256, model.sha256)
        if model.sha1 is not None:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, lambda: hashlib.sha1(usedforsecurity=False))
            _require(path, "sha1", found.hexdigest(), model.sha1)
    except OSError as error:
        raise StageError(
            f"cannot be read: {error.strerror}", where=str(path), hint="give a file you may read"
        ) from error
    return sha256


def _require(path: Path, kind: str, digest: str, demanded: str | None) -> None:
    if demanded is not None and digest != demanded:
        raise StageError(
            f"this is not the file the recipe demands: its {kind} is {digest}, not {demanded}",
            where=str(path),
            hint=f"give the right file, or correct model.{kind}",
        )
