"""A model's preprocessing where the model does not say it: typical values, said to be a guess."""

from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.init.ask import Ask, number, one_of
from pipeline.init.findings import BACKGROUND_CLASSES, View

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
LATER = "Enter to decide later; other values go into the recipe"
INTERPOLATION, CROP = "bilinear", 0.875
"""What torchvision and TensorFlow's published models were evaluated with."""
SIZE = 224
DECLARED = "As the file's own metadata declare it."
ONE_DEVIATION = (
    "SyNAP knows one deviation for all channels of a model that comes quantized: one that was trained "
    "with ImageNet's three has to be given as a float model."
)
_FILTERS = get_args(Preprocess.model_fields["interpolation"].annotation)
T = TypeVar("T")


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
    guesses = _Guesses(ask)
    if size is None:
        size = guesses("Size of its input", SIZE, number(int, 1, 4096), "size")
    if normalization is None:
        # TensorFlow's ImageNet models have that many, and pixels from -1 to 1
        word = "half" if one_deviation or outputs == BACKGROUND_CLASSES else "imagenet"
        question = f"How it wants pixels ({MEANINGS}; {LATER})"
        word = guesses(question, word, one_of(NORMALIZATIONS), "mean", "std")
        normalization = NORMALIZATIONS[word]
    interpolation = guesses(
        "How pictures are resized", INTERPOLATION, one_of(_FILTERS), "interpolation"
    )
    crop = guesses(
        "Part of the shorter side that the crop keeps", CROP, number(float, 0.05, 1.0), "crop"
    )
    preprocess = Preprocess.model_validate(
        {
            "size": size,
            "interpolation": interpolation,
            "crop": crop,
            **normalization.model_dump(),
        }
    )
    if guesses.answered:
        answered = f"As answered when this was written: {', '.join(guesses.answered)}."
        origin = f"{origin} {answered}".strip()
    return View(preprocess, origin, guessed=tuple(guesses.kept))


class _Guesses:
    """Which guesses a person replaced, and which were kept: an accepted default is still a guess."""

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        self.answered: list[str] = []
        """Fields that were given another value."""
        self.kept: list[str] = []

    def __call__(self, question: str, guess: T, parse: Callable[[str], T], *fields: str) -> T:
        value = guess if self._ask is None else self._ask(question, str(guess), parse)
        (self.kept if value == guess else self.answered).extend(fields)
        return value


def notes_of_deviation(view: View) -> list[str]:
    """What is to be said of a model that comes quantized, where its pixels have several deviations, or
    may have."""
    several = len(set(view.preprocess.std)) > 1
    return [ONE_DEVIATION] if several or "std" in view.guessed else []
