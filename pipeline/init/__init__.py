"""`pipeline init`: look at a model and write the recipe that converts it.

What can be known is looked up, by the very code that a run would import the model with, so that a
recipe is written only for what a run can take. What cannot be known is asked where there is somebody
to ask, and else guessed, and the recipe's comments say that it is a guess.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipeline.errors import UsageError
from pipeline.init.ask import Ask
from pipeline.init.findings import Findings

__all__ = ["Ask", "Findings", "Written", "init"]


_LATER = "later"
"""The answer of who has no images at hand."""


@dataclass(frozen=True)
class Written:
    """A recipe that was written, and what it was written from."""

    path: Path
    findings: Findings


def init(
    model: str,
    *,
    out: Path | None = None,
    data: Path | None = None,
    arch: str | None = None,
    force: bool = False,
    ask: Ask | None = None,
) -> Written:
    """Write a recipe for a model file or a name of timm's, by default into this folder.

    `data` is the folder of images, `arch` timm's name of a weights file's architecture; without
    `ask` nothing is asked. An existing file is replaced only with `force`. Raises PipelineError for
    a model or images that no run could take, in the words of a run.
    """
    from pipeline.artifact import write_text
    from pipeline.init.images import fitting, images_for, open_images
    from pipeline.init.look import look
    from pipeline.init.render import render_recipe
    from pipeline.system_errors import system_errors_explained

    path = out or Path(f"{_file_name(model)}.yaml")
    _require_free(path, force)
    if data is None and ask is not None:
        data = _images_folder(ask)
    opened = None if data is None else open_images(data)
    known = look(model, arch, ask)
    if opened is not None:
        opened = fitting(opened, known.outputs)
    found = Findings(known, images_for(opened, quantized=known.quantized is not None))
    _require_source(found, model)
    text = render_recipe(found, model, path)
    _require_free(path, force)
    with system_errors_explained(str(path), path.parent):
        write_text(path, text)
    return Written(path, found)


def _require_free(path: Path, force: bool) -> None:
    if path.is_dir():
        raise UsageError("is a folder", where=str(path), hint="give the file to write: --out FILE")
    if path.exists() and not force:
        raise UsageError(
            "exists already",
            where=str(path),
            hint="write to another with --out FILE, or replace it with --force",
        )


def _images_folder(ask: Ask) -> Path | None:
    def parse(answer: str) -> Path | None:
        if answer != _LATER and not Path(answer).is_dir():
            raise ValueError(f"there is no folder {answer}")
        return None if answer == _LATER else Path(answer)

    return ask("Folder of images", _LATER, parse)


def _require_source(found: Findings, model: str) -> None:
    """Raises UsageError where this version has no source for such a model."""
    from pipeline.recipe import SourceName

    if found.model.source not in get_args(SourceName):
        raise UsageError(f"recipes know no source {found.model.source!r} yet", where=model)


def _file_name(model: str) -> str:
    """A name for the recipe that needs no quotes anywhere."""
    path = Path(model)
    stem = path.stem if path.is_file() else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-") or "model"
