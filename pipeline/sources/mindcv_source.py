"""Source `mindcv`: a checkpoint of MindCV's `inception_v4`, read without MindSpore."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import recipe
from pipeline.data.preprocess import Preprocess
from pipeline.errors import Missing, UsageError
from pipeline.progress import Progress
from pipeline.sources.adopt import (
    adopt,
    digest_of_file,
    file_identity,
    given_file,
    missing_file,
    no_file,
)
from pipeline.sources.model_folder import ModelDescription, Published

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "inception_v4"
PREPROCESS = Preprocess(
    size=299,
    interpolation="bilinear",
    crop=0.875,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""MindCV's (`configs/inceptionv4/inception_v4_ascend.yaml`, `transforms_imagenet_eval`). MindSpore
itself shrinks images without smoothing them first, as OpenCV does; Pillow's filter smooths."""
_RESULTS = "MindCV, benchmark_results.md (commit 51b0636)"
PUBLISHED: dict[str, Published] = {
    start: Published(dataset="imagenet-1k validation", top1=top1, top5=top5, reference=_RESULTS)
    for start, top1, top5 in (("db9c45b3", 0.8088, 0.9534), ("56e798fc", 0.8098, 0.9525))
}
"""What MindCV measured of the files it publishes, by the start of their sha256, which MindCV puts
into their names (`configs/README.md`)."""
_DIGITS = 8
_TRAINING_STATE = ("moments.", "ema.")
_TRAINING_COUNTERS = {
    "global_step", "learning_rate", "momentum", "scale_sense", "updates", "epoch_num", "step_num",
}  # fmt: skip
_HINT = (
    "give MindCV's inception_v4-db9c45b3.ckpt or inception_v4-56e798fc-910v2.ckpt (its "
    "configs/inceptionv4/README.md links them), or your own, by WEIGHTS=file, --weights file or "
    "model.weights in the recipe"
)


def missing(model: recipe.Model, weights: Path | None) -> list[Missing]:
    """What a run would lack: the file, or any word of it. Raises UsageError for another model."""
    _require_architecture(model)
    return [no_file(model, _HINT)] if weights is None else missing_file(weights)


def identity(model: recipe.Model, weights: Path | None) -> dict[str, Any]:
    """What decides the artifact: the file's content and the number of classes."""
    return file_identity(model, given_file(model, weights, _HINT))


def produce(
    model: recipe.Model, weights: Path | None, folder: Path, progress: Progress
) -> ModelDescription:
    """Write the artifact for the checkpoint into `folder`; it may have any number of classes.

    Raises UsageError for another architecture, StageError for everything about the file.
    """
    from pipeline.sources.timm_models import configuration

    _require_architecture(model)
    path = given_file(model, weights, _HINT)
    sha256 = digest_of_file(path)
    return adopt(
        model,
        configuration(ARCHITECTURE),
        path,
        folder,
        progress,
        num_classes=model.num_classes,
        sha256=sha256,
        preprocess=PREPROCESS,
        published=PUBLISHED.get(sha256[:_DIGITS]),
        read=lambda path: read_mindcv(path, progress),
    )


def read_mindcv(path: Path, progress: Progress) -> "dict[str, torch.Tensor]":
    """The tensors of a MindCV checkpoint under timm's names, as float32.

    A name that is not of the architecture keeps its own, so that loading refuses it. What MindCV's
    training keeps beside the weights (momenta, averages, counters) is left out, with a note.
    Raises StageError for everything about the file.
    """
    from pipeline.sources.mindcv_names import timm_name
    from pipeline.sources.mindspore_checkpoint import read_checkpoint
    from pipeline.sources.weights_file import require_finite

    state = read_checkpoint(path)
    left_out = [name for name in state if _is_training_state(name)]
    if left_out:
        averages = sum(name.startswith("ema.") for name in left_out)
        also = f", {averages} of them averaged weights, which MindCV does not evaluate either"
        progress.note(
            f"{len(left_out)} of the checkpoint's {len(state)} tensors belong to the training and "
            f"are left out{also if averages else ''}"
        )
    kept = {
        timm_name(name) or name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if not _is_training_state(name)
    }
    require_finite(kept, path)
    return kept


def _is_training_state(name: str) -> bool:
    return name.startswith(_TRAINING_STATE) or name in _TRAINING_COUNTERS


def _require_architecture(model: recipe.Model) -> None:
    if model.name != ARCHITECTURE:
        raise UsageError(
            f"source 'mindcv' has {ARCHITECTURE} only, not {model.name!r}",
            where="model.name",
            hint="export another model to ONNX with MindSpore and use source 'onnx'",
        )
