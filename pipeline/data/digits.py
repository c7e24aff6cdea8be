"""scikit-learn's handwritten digits: 1797 images of 8x8, which come with the package.

The images are parted once and for all by their content: those the `digits` model source trains on,
and the rest, which is what the dataset lists. An image trains if the first byte of its content's
sha256 is below 184 of 256, whatever its place in the file, so equal images are always on the same
side. That is 1354 to train on and 443 for the rest.
"""

import gzip
import zlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.data.dataset import Item, content_digest
from pipeline.errors import Missing, MissingError, StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

SIDE = 8
IMAGE_COUNT = 1797
CLASS_COUNT = 10
LEVELS = 16
"""Pixels of the original are 0 to 16, black to white."""
TRAINING_BYTES = 184
_BYTES = bytes((level * 255 + LEVELS // 2) // LEVELS for level in range(LEVELS + 1))
"""The byte for each level: `level * 255 / 16`, rounded half up."""


class _Digit(NamedTuple):
    id: str
    label: int
    content: bytes
    trains: bool


def open_digits(folder: Path | None) -> "Digits":
    """The digits that no model trains on; `folder` is not needed and ignored.

    Raises MissingError without scikit-learn.
    """
    _all_digits()
    return Digits()


class Digits:
    """The part for calibration, selection and evaluation. Content: 64 bytes, row after row."""

    name = "digits"
    class_count = CLASS_COUNT

    def __init__(self) -> None:
        self._digits = {digit.id: digit for digit in _all_digits() if not digit.trains}

    def listing(self) -> list[Item]:
        """The held-out digits; the id has the image's place in scikit-learn's file."""
        return sorted(Item(digit.id, digit.label) for digit in self._digits.values())

    def notes(self) -> tuple[str, ...]:
        """Nothing is left out."""
        return ()

    def where(self, id: str) -> str:
        """The id: there is no file of its own."""
        return id

    def fingerprint(self, id: str) -> None:
        """None: the digits are part of a package and at hand when it is."""
        return None

    def content(self, id: str) -> bytes:
        """The 64 pixels as bytes 0 to 255."""
        return self._digits[id].content

    def decode(self, id: str, content: bytes) -> "Image":
        """The 8x8 picture, RGB."""
        from PIL import Image as pillow

        return pillow.frombytes("L", (SIDE, SIDE), content).convert("RGB")

    def image(self, id: str) -> "Image":
        """The 8x8 picture, RGB."""
        return self.decode(id, self.content(id))


def digits_training() -> "tuple[NDArray[np.uint8], NDArray[np.int64]]":
    """The digits to train on: `uint8 [n, 8, 8]` (0 to 255) and `int64 [n]`; n is 1354."""
    import numpy as np

    digits = [digit for digit in _all_digits() if digit.trains]
    pixels = np.frombuffer(b"".join(digit.content for digit in digits), np.uint8)
    images = pixels.reshape(-1, SIDE, SIDE).copy()
    return images, np.array([digit.label for digit in digits], np.int64)


@lru_cache(maxsize=1)
def _all_digits() -> tuple[_Digit, ...]:
    """Reads the file behind `sklearn.datasets.load_digits`, because importing scikit-learn takes a
    second and reading 1797 lines 20 ms; a test holds the two equal."""
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        what = "scikit-learn, which the digits come with, is not installed"
        raise MissingError([Missing(what, "set the environment up with `make setup`")])
    path = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        lines = gzip.decompress(path.read_bytes()).decode("ascii").split()
        digits = tuple(_digit(place, line) for place, line in enumerate(lines))
        if len(digits) != IMAGE_COUNT:
            raise ValueError(f"{len(digits)} images instead of {IMAGE_COUNT}")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise StageError(
            f"scikit-learn's digits are unreadable: {error}",
            where=str(path),
            hint="install the version of scikit-learn that constraints.txt names (`make setup`)",
        ) from error
    return digits


def _digit(place: int, line: str) -> _Digit:
    *levels, label = (int(float(value)) for value in line.split(","))
    inside = all(0 <= level <= LEVELS for level in levels)
    if len(levels) != SIDE * SIDE or not inside or not 0 <= label < CLASS_COUNT:
        raise ValueError(f"line {place + 1} is no digit")
    content = bytes(_BYTES[level] for level in levels)
    trains = int(content_digest(content)[:2], 16) < TRAINING_BYTES
    return _Digit(f"digit-{place:04}", label, content, trains)
