"""`npy`: images that are decoded already, as two NumPy files in a folder.

`images.npy` is `uint8 [N, H, W, 3]` (RGB), `labels.npy` any integers `[N]` from 0. Both are mapped,
not read into memory, and nothing in them is ever executed. A class list beside them
(`class_list.py`) names the classes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.class_list import read_class_list
from pipeline.data.dataset import Item
from pipeline.data.image_files import missing, require_folder
from pipeline.errors import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

IMAGES, LABELS = "images.npy", "labels.npy"
EXPECTED = (
    f"expected are {IMAGES} (uint8 [N, H, W, 3], RGB) and {LABELS} (integers [N], from 0), as "
    "numpy.save writes them"
)


def open_npy(folder: Path | None) -> "NpyImages":
    """The images in `folder`. Raises MissingError where a file is missing, StageError for files
    that are not of the form above."""
    place = require_folder(folder, "images as NumPy arrays", EXPECTED)
    for name in (IMAGES, LABELS):
        if not (place / name).is_file():
            raise missing(f"images as NumPy arrays: {place} has no {name}", EXPECTED)
    return NpyImages(place)


class NpyImages:
    """Rows of an array. An id is the row's number, content its size and its pixels, row after row."""

    name = "npy"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = _mapped(folder / IMAGES)
        _require_images(self._images, folder / IMAGES)
        labels = _mapped(folder / LABELS)
        self._labels = _checked_labels(labels, len(self._images), folder / LABELS)
        listed = read_class_list(folder)
        self.class_names: tuple[str, ...] | None = None if listed is None else listed[1]
        self.class_count = max(self._labels) + 1
        if listed is not None and self.class_count > len(listed[1]):
            raise StageError(
                f"label {max(self._labels)}, and {listed[0].name} has {len(listed[1])} classes",
                where=str(folder / LABELS),
                hint="give the list of the classes these labels belong to, or remove it",
            )
        if listed is not None:
            self.class_count = len(listed[1])
        self._width = len(str(len(self._images) - 1))

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the files anew, rather than being sent the images."""
        return NpyImages, (self.folder.absolute(),)

    def listing(self) -> list[Item]:
        """Every row."""
        return [Item(f"{n:0{self._width}}", label) for n, label in enumerate(self._labels)]

    def notes(self) -> tuple[str, ...]:
        """Nothing is left out."""
        return ()

    def where(self, id: str) -> str:
        """The file and the row."""
        return f"{self.folder / IMAGES}[{int(id)}]"

    def fingerprint(self, id: str) -> None:
        """None: a row is no file, and is always a picture."""
        return None

    def content(self, id: str) -> bytes:
        """`HxW:` and the row's `H * W * 3` bytes: without the size, pictures whose height and width
        were exchanged by a reshape would have the identity of the right ones."""
        row = self._images[int(id)]
        content: bytes = f"{row.shape[0]}x{row.shape[1]}:".encode() + row.tobytes()
        return content

    def decode(self, id: str, content: bytes) -> "Image":
        """The picture, RGB."""
        from PIL import Image as pillow

        size, _, pixels = content.partition(b":")
        height, width = map(int, size.split(b"x"))
        return pillow.frombytes("RGB", (width, height), pixels)

    def image(self, id: str) -> "Image":
        """The picture, RGB."""
        return self.decode(id, self.content(id))


def _mapped(path: Path) -> "NDArray[Any]":
    from tokenize import TokenError

    from numpy.lib.format import open_memmap

    try:
        # Unlike numpy.load it reads this one format only: neither archives nor pickles.
        return open_memmap(path, mode="r")
    except OSError as error:
        raise StageError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    except (
        *(ValueError, TypeError, EOFError, OverflowError, RecursionError, MemoryError),
        *(SyntaxError, TokenError),
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StageError(
            f"no array that can be mapped ({reason})", where=str(path), hint=EXPECTED
        ) from error


def _require_images(images: "NDArray[Any]", path: Path) -> None:
    import numpy as np

    form = f"{images.dtype} {list(images.shape)}"
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and images.size:
        return
    hint = EXPECTED
    if images.ndim == 4 and images.shape[1] == 3:
        hint += "; this one looks like [N, 3, H, W]: transpose(0, 2, 3, 1) before saving"
    raise StageError(f"the array is {form}", where=str(path), hint=hint)


def _checked_labels(labels: "NDArray[Any]", count: int, path: Path) -> list[int]:
    import numpy as np

    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (count,):
        raise StageError(
            f"the array is {labels.dtype} {list(labels.shape)}, and {IMAGES} has {count} images",
            where=str(path),
            hint=EXPECTED,
        )
    values: list[int] = labels.tolist()
    if min(values) < 0:
        raise StageError(f"label {min(values)} is less than 0", where=str(path), hint=EXPECTED)
    return values
