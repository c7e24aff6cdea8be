"""From a weights file and a timm configuration to the artifact: what all sources share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import recipe
from pipeline.artifact import digest_of_path
from pipeline.data.preprocess import Preprocess
from pipeline.errors import Missing, StageError
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.sources.model_folder import ModelDescription, Origin, Published, save_model

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipeline.sources.timm_models import Configuration

IMAGENET_CLASSES = 1000


def missing_file(path: Path) -> list[Missing]:
    """What the preflight says of a weights file that cannot be opened or is empty."""
    try:
        if not path.is_file():
            why = "is a folder" if path.is_dir() else "does not exist"
        elif path.stat().st_size == 0:
            why = "is empty"
        elif not os.access(path, os.R_OK):
            why = "may not be read by you"
        else:
            return []
    except OSError as error:
        why = f"cannot be looked at ({error.strerror})"
    hint = "give the file by WEIGHTS=file, --weights file or model.weights in the recipe"
    return [Missing(f"the weights file {path} {why}", hint)]


def no_file(model: recipe.Model, hint: str) -> Missing:
    """What the preflight says where a source of files was given none."""
    return Missing(f"source '{model.source}' needs a weights file of {model.name}", hint)


def given_file(model: recipe.Model, weights: Path | None, hint: str) -> Path:
    """The file that such a source was given. Raises StageError if there is none."""
    if weights is None:
        raise StageError(no_file(model, hint).what, where="model.weights", hint=hint)
    return weights


def file_identity(model: recipe.Model, path: Path) -> dict[str, Any]:
    """What decides the artifact of such a source: the architecture and the file's content."""
    return {
        "source": model.source,
        "name": model.name,
        "num_classes": model.num_classes,
        "timm": version_of("timm"),
        "file": digest_of_file(path),
    }


def digest_of_file(path: Path) -> str:
    """sha256 of a weights file. Raises StageError if it cannot be read."""
    try:
        return digest_of_path(path)
    except OSError as error:
        raise StageError(
            f"the weights file cannot be read: {error.strerror}", where=str(path)
        ) from error


def adopt(
    model: recipe.Model,
    config: "Configuration",
    path: Path,
    folder: Path,
    progress: Progress,
    *,
    num_classes: int | None,
    sha256: str | None = None,
    origin: Origin | None = None,
    preprocess: Preprocess | None = None,
    published: Published | None = None,
    read: "Callable[[Path], dict[str, torch.Tensor]] | None" = None,
) -> ModelDescription:
    """Write the artifact for the weights in `path`.

    `num_classes` None takes as many as the file's classifier has. `sha256` is the file's, where it is
    known, and `origin` that of a download; `preprocess` defaults to timm's own, `read` to what reads
    safetensors and PyTorch's files. Raises UsageError if this pipeline
    cannot do timm's preprocessing, StageError if the file is not the one the recipe demands, is no
    weights file, or does not fit.
    """
    from pipeline.sources.timm_models import build
    from pipeline.sources.weights_file import load_into, read_weights

    sha256 = sha256 or digest_of_file(path)
    if model.sha256 is not None and sha256 != model.sha256:
        raise StageError(
            f"this is not the file the recipe demands: its sha256 is {sha256}, not {model.sha256}",
            where=str(path),
            hint="give the right file, or correct model.sha256",
        )
    view = preprocess or config.preprocess()
    state = (read or read_weights)(path)
    wanted = num_classes or _classes_of_file(config, state, path)
    state = _without_background(config, state, wanted, progress)
    built = build(model.name, wanted)
    load_into(built, state, str(path))
    description = ModelDescription(
        architecture=model.name,
        num_classes=wanted,
        preprocess=view,
        source=model.source,
        origin=origin or Origin(file=path.name),
        weights_sha256=sha256,
        parameters=count_parameters(built),
        published=published,
    )
    save_model(folder, built, description)
    return description


def count_parameters(model: "nn.Module") -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def _rows(config: "Configuration", state: "dict[str, torch.Tensor]") -> int | None:
    """Outputs of the file's classifier, None where the file has no such layer."""
    layer = state.get(f"{config.classifier}.weight")
    return None if layer is None or layer.ndim == 0 else int(layer.shape[0])


def _classes_of_file(config: "Configuration", state: "dict[str, torch.Tensor]", path: Path) -> int:
    rows = _rows(config, state)
    if rows is None:
        raise StageError(
            f"the number of classes does not show: the file has no tensor "
            f"{config.classifier}.weight, which is the classifier of {config.name}",
            where=str(path),
            hint=_other_head(config, state),
        )
    background = rows == IMAGENET_CLASSES + 1 and config.num_classes == IMAGENET_CLASSES
    return IMAGENET_CLASSES if background else rows


def _other_head(config: "Configuration", state: "dict[str, torch.Tensor]") -> str:
    """What to do about a classifier that does not have the architecture's name for it."""
    matrices = [name for name, tensor in state.items() if tensor.ndim == 2]
    if not matrices or not config.classifier:
        return "give a file of this architecture with its classifier, or set model.num_classes"
    last = matrices[-1]
    return (
        f"the file's last matrix is {last}, of {state[last].shape[0]} rows; if that is the classifier, "
        f"save it as {config.classifier}.weight"
    )


def _without_background(
    config: "Configuration",
    state: "dict[str, torch.Tensor]",
    wanted: int,
    progress: Progress,
) -> "dict[str, torch.Tensor]":
    """TensorFlow's ImageNet models have a class 0 for background, which timm leaves out, too."""
    if wanted != IMAGENET_CLASSES or _rows(config, state) != wanted + 1:
        return state
    progress.note(
        f"the file has {wanted + 1} classes; the first is taken for TensorFlow's background "
        f"class and left out (set model.num_classes: {wanted + 1} to keep it)"
    )
    head = (f"{config.classifier}.weight", f"{config.classifier}.bias")
    return {name: tensor[1:] if name in head else tensor for name, tensor in state.items()}
