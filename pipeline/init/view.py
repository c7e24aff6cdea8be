"""A model's preprocessing where the model does not say it: typical values, said to be a guess."""

from collections.abc import Mapping
from typing import get_args

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.init.ask import Ask, number, one_of
from pipeline.init.findings import View

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
NORMALIZATIONS: Mapping[str, Normalization] = {
    "imagenet": IMAGENET,
    "half": Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "fractions": Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    "bytes": Normalization(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255)),
}
"""By the words of the question: torchvision's and most of timm's, TensorFlow's -1 to 1, 0 to 1, and
0 to 255."""
MEANINGS = (
    "imagenet: ImageNet's mean and deviation; half: -1 to 1; fractions: 0 to 1; bytes: 0 to 255"
)
INTERPOLATION, CROP = "bilinear", 0.875
"""What torchvision and TensorFlow's published models were evaluated with."""
SIZE = 224
DECLARED = "As the file's own metadata declare it."
BACKGROUND_CLASSES = 1001
"""Outputs of TensorFlow's ImageNet models, whose pixels go from -1 to 1."""
ONE_DEVIATION = (
    "SyNAP knows one deviation for all channels of a model that comes quantized: one that was trained "
    "with ImageNet's three has to be given as a float model."
)
_FILTERS = get_args(Preprocess.model_fields["interpolation"].annotation)
_NORMALIZED = ("mean", "std")
_GEOMETRY = ("interpolation", "crop")


def completed(
    origin: str,
    size: int | None,
    normalization: Normalization | None,
    outputs: int,
    ask: Ask | None,
    *,
    one_deviation: bool = False,
) -> View:
    """A view whose size or normalization may be known (None: not), asked for or guessed otherwise.

    `origin` says who declares what is known, and may be empty; `one_deviation` keeps to what has the
    same for all channels.
    """
    guessed: list[str] = []
    if size is None:
        guessed.append("size")
        size = SIZE if ask is None else ask("Size of its input", str(SIZE), number(int, 1, 4096))
    if normalization is None:
        guessed += _NORMALIZED
        word = "half" if one_deviation or outputs == BACKGROUND_CLASSES else "imagenet"
        if ask is not None:
            question = f"How it wants pixels ({MEANINGS})"
            word = ask(question, word, one_of(NORMALIZATIONS))
        normalization = NORMALIZATIONS[word]
    guessed += _GEOMETRY
    interpolation, crop = INTERPOLATION, CROP
    if ask is not None:
        interpolation = ask("How pictures are resized", interpolation, one_of(_FILTERS))
        crop = ask(
            "Part of the shorter side that the crop keeps", str(crop), number(float, 0.05, 1.0)
        )
    preprocess = Preprocess.model_validate(
        {
            "size": size,
            "interpolation": interpolation,
            "crop": crop,
            **normalization.model_dump(),
        }
    )
    if ask is not None:
        answered = f"As answered when this was written: {', '.join(guessed)}."
        return View(preprocess, f"{origin} {answered}".strip())
    return View(preprocess, origin, guessed=tuple(guessed))


def notes_of_deviation(view: View) -> list[str]:
    """What is to be said of a model that comes quantized, where its pixels have several deviations, or
    may have."""
    several = len(set(view.preprocess.std)) > 1
    return [ONE_DEVIATION] if several or "std" in view.guessed else []
