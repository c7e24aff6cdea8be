"""Source `digits`: a timm architecture trained here on scikit-learn's handwritten digits.

For the demo and the tests: a full-size model with an accuracy worth measuring that needs no
download. It trains on the part of the digits that no evaluation sees.
"""

from pathlib import Path
from typing import Any

from pipeline import recipe
from pipeline.data.preprocess import Preprocess
from pipeline.errors import Missing, UsageError
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.sources.adopt import adopt, count_parameters, digest_of_file, missing_file
from pipeline.sources.model_folder import ModelDescription, Origin, save_model

CLASSES = 10
_SHAPING = ("timm", "torch", "scikit-learn", "numpy", "pillow")
"""The packages whose versions shape the trained weights."""


def preprocess(size: int) -> Preprocess:
    """How a digit is enlarged: the whole picture, smoothly, to bytes around the middle of grey."""
    half = (0.5, 0.5, 0.5)
    return Preprocess(size=size, interpolation="bilinear", crop=1.0, mean=half, std=half)


def missing(model: recipe.Model, weights: Path | None) -> list[Missing]:
    """What a run would lack: nothing, unless a file is given in place of the training."""
    _require_ten_classes(model)
    return [] if weights is None else missing_file(weights)


def identity(model: recipe.Model, weights: Path | None) -> dict[str, Any]:
    """What decides the artifact: the options and the versions of what trains, or the file."""
    _require_ten_classes(model)
    origin: dict[str, Any] = (
        {"options": _options(model).model_dump(), **{n: version_of(n) for n in _SHAPING}}
        if weights is None
        else {
            "size": _options(model).size,
            "timm": version_of("timm"),
            "file": digest_of_file(weights),
        }
    )
    return {"source": model.source, "name": model.name, **origin}


def produce(
    model: recipe.Model, weights: Path | None, folder: Path, progress: Progress
) -> ModelDescription:
    """Train the architecture, or take the file, and write the artifact into `folder`.

    Raises UsageError for an unknown architecture or options it cannot take, StageError if training
    diverges or the file does not fit.
    """
    import numpy as np
    from PIL import Image as pillow

    from pipeline.data.digits import digits_training
    from pipeline.sources.timm_models import build, configuration
    from pipeline.sources.training import reproducible, train

    config = configuration(model.name)
    options = _options(model)
    view = preprocess(options.size)
    if weights is not None:
        return adopt(
            model,
            config,
            weights,
            folder,
            progress,
            num_classes=CLASSES,
            preprocess=view,
        )
    pictures, labels = digits_training()
    crops = np.stack([view.crop_image(pillow.fromarray(picture)) for picture in pictures])
    with reproducible(options.seed):
        trained = build(model.name, CLASSES)
        train(trained, crops, labels, view.normalization, options, progress)
    description = ModelDescription(
        architecture=model.name,
        num_classes=CLASSES,
        preprocess=view,
        source=model.source,
        origin=Origin(training=options),
        parameters=count_parameters(trained),
    )
    save_model(folder, trained, description)
    return description


def _options(model: recipe.Model) -> recipe.TrainOptions:
    return model.options or recipe.TrainOptions()


def _require_ten_classes(model: recipe.Model) -> None:
    if model.num_classes not in (None, CLASSES):
        raise UsageError(
            f"there are {CLASSES} digits, not {model.num_classes}",
            where="model.num_classes",
            hint="leave it out",
        )
