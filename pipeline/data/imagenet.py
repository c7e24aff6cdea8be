"""ImageNet (ILSVRC2012) images in a folder of the user's.

The class of an image is the synset that its path names: a folder above it (`n01440764/x.JPEG`,
also below `val/` or `train/`), or else the beginning of its own name (`n01440764_x.JPEG`). The
label is the synset's index in the ILSVRC2012 order, which is the sorted order; the list is the one
that timm ships.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.dataset import BrokenImage, Fingerprint, Item
from pipeline.data.decode import decode_image
from pipeline.errors import Missing, MissingError, StageError

if TYPE_CHECKING:
    from PIL.Image import Image

CLASS_COUNT = 1000
ENDINGS = (".jpeg", ".jpg", ".png")
EXPECTED = (
    "expected are class folders named by synset (n01440764/*.JPEG, also below val/ or train/), "
    "or images named <synset>_*.JPEG, with endings .jpeg, .jpg or .png"
)
_SYNSET = re.compile(r"n\d{8}")
_SYNSET_PREFIX = re.compile(r"(n\d{8})_")
_SHOWN = 5


@lru_cache(maxsize=1)
def imagenet_synsets() -> dict[str, int]:
    """Label of each of the 1000 synsets. Read from timm's data without importing timm (seconds).

    Raises MissingError without timm, StageError if its list is not the one that is known.
    """
    found = find_spec("timm")
    if found is None or not found.submodule_search_locations:
        what = "timm, whose list of ImageNet classes is used, is not installed"
        raise MissingError([Missing(what, "set the environment up with `make setup`")])
    path = Path(found.submodule_search_locations[0], "data", "_info", "imagenet_synsets.txt")
    hint = "install the version of timm that constraints.txt names (`make setup`)"
    try:
        names = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(
            f"the list of classes is unreadable: {error}", where=str(path), hint=hint
        ) from error
    if len(names) != CLASS_COUNT or names != sorted(set(names)):
        raise StageError("not the 1000 sorted synsets of ILSVRC2012", where=str(path), hint=hint)
    return {name: label for label, name in enumerate(names)}


def open_imagenet(folder: Path | None) -> "Imagenet":
    """The images below `folder`. Raises MissingError where there is no image of a known class."""
    if folder is None:
        raise _missing(
            "ImageNet images: no folder was given",
            "give one with DATA=<folder> (or --data, or `folder:` under `data:` in the recipe); "
            f"{EXPECTED}. `make demo` needs no images",
        )
    # os.path also answers False for what may not be looked at.
    if not os.path.exists(folder):
        raise _missing(
            f"ImageNet images: {folder} does not exist", "check the path of DATA= or --data"
        )
    if not os.path.isdir(folder):
        raise _missing(
            f"ImageNet images: {folder} is not a folder",
            "give the folder that holds the images; unpack an archive first",
        )
    dataset = Imagenet(folder)
    if not dataset.has_images():
        raise _missing(f"ImageNet images: {dataset.what_is_there()}", EXPECTED)
    return dataset


def _missing(what: str, hint: str) -> MissingError:
    return MissingError([Missing(what, hint)])


class Imagenet:
    """A folder of ImageNet images. An id is the path below the folder, with `/`.

    Symbolic links are followed. Names that begin with a dot are skipped.
    """

    name = "imagenet"
    class_count = CLASS_COUNT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = str(folder.resolve())
        self._items: list[Item] | None = None
        self._notes: tuple[str, ...] = ()

    def listing(self) -> list[Item]:
        """Every image of a known class, sorted by id. Raises StageError for an unreadable folder
        and for an image whose folder and name say different classes."""
        if self._items is None:
            labels = imagenet_synsets()
            items: list[Item] = []
            unknown: Counter[str] = Counter()
            for id, synset in self._images():
                if synset is None or synset not in labels:
                    unknown[os.path.dirname(id) or "."] += 1
                else:
                    items.append(Item(id, labels[synset]))
            self._items = sorted(items)
            self._notes = _unknown_note(self.folder, unknown)
        return self._items

    def notes(self) -> tuple[str, ...]:
        """Images that belong to no known class, by folder."""
        self.listing()
        return self._notes

    def has_images(self) -> bool:
        """Whether any image is of a known class; stops at the first."""
        labels = imagenet_synsets()
        return any(synset in labels for _, synset in self._images())

    def what_is_there(self) -> str:
        """For the error about a folder without known classes: a few of the names in it."""
        names = sorted(name for name in os.listdir(self._root) if not name.startswith("."))
        if not names:
            return f"{self.folder} is empty"
        images = sorted(id for id, _ in self._images())
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        example = f", such as {images[0]}" if images else ""
        return (
            f"{self.folder} has no image of a known class; it holds {shown} "
            f"({len(names)} names, {len(images)} images below{example})"
        )

    def where(self, id: str) -> str:
        """The path of the file, as the folder was given."""
        return str(self.folder / id)

    def fingerprint(self, id: str) -> Fingerprint:
        """Path, size and time of the file."""
        path = f"{self._root}/{id}"
        try:
            status = os.stat(path)
        except OSError as error:
            raise BrokenImage(self.where(id), _unreadable(error)) from error
        if not stat.S_ISREG(status.st_mode):
            raise BrokenImage(self.where(id), "is not a regular file")
        return Fingerprint(path, status.st_size, status.st_mtime_ns)

    def content(self, id: str) -> bytes:
        """The bytes of the file."""
        try:
            with open(f"{self._root}/{id}", "rb") as file:
                return file.read()
        except OSError as error:
            raise BrokenImage(self.where(id), _unreadable(error)) from error

    def decode(self, id: str, content: bytes) -> "Image":
        """See `decode_image`."""
        return decode_image(content, self.where(id))

    def image(self, id: str) -> "Image":
        """The decoded file."""
        return self.decode(id, self.content(id))

    def _images(self) -> Iterator[tuple[str, str | None]]:
        """Ids of all images below, in no order, each with the synset its path names (or None)."""
        start: tuple[str, str | None, frozenset[tuple[int, int]]] = ("", None, frozenset())
        pending = [start]
        while pending:
            below, synset, above = pending.pop()
            try:
                status = os.stat(f"{self._root}/{below}")
                here = (status.st_dev, status.st_ino)
                # A link to a folder above would go round for ever.
                if here in above:
                    continue
                with os.scandir(f"{self._root}/{below}") as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        id = f"{below}{entry.name}"
                        if _is_folder(entry):
                            is_class = _SYNSET.fullmatch(entry.name)
                            named = entry.name if is_class else synset
                            pending.append((f"{id}/", named, above | {here}))
                        elif entry.name.lower().endswith(ENDINGS):
                            yield id, self._agreed(id, synset, entry.name)
            except OSError as error:
                raise StageError(
                    f"this folder {_unreadable(error)}",
                    where=self.where(below),
                    hint="make it readable, or take it out of the folder of images",
                ) from error

    def _agreed(self, id: str, folder: str | None, name: str) -> str | None:
        prefix = _SYNSET_PREFIX.match(name)
        if folder is None or prefix is None or prefix[1] not in imagenet_synsets():
            return folder or (prefix[1] if prefix else None)
        if prefix[1] != folder:
            raise StageError(
                f"the folder says class {folder}, the file's name says {prefix[1]}",
                where=self.where(id),
                hint="move the file to the folder of its class, or rename it",
            )
        return folder


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads nowhere. If it is named like an image, it is listed and found broken.
        return False


def _unknown_note(folder: Path, unknown: Counter[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    names = sorted(unknown)
    shown = ", ".join(f"{name} ({unknown[name]})" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{folder}: {unknown.total()} images of no ImageNet class were left out, "
        f"from {len(names)} folders: {shown}{more}",
    )


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"
