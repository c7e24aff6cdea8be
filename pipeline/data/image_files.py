"""Image files below a folder: found, read and decoded alike by every dataset that is made of them."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.dataset import BrokenImage, Fingerprint
from pipeline.data.decode import decode_image
from pipeline.errors import Missing, MissingError, StageError
from pipeline.inspect.printable import printable

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpeg", ".jpg", ".png")
SHOWN = 5
"""How many names an error or a note shows."""


def missing(what: str, hint: str) -> MissingError:
    """The error about one missing thing."""
    return MissingError([Missing(what, hint)])


def require_folder(folder: Path | None, kind: str, expected: str) -> Path:
    """The folder. Raises MissingError where none was given, or it is not there or no folder."""
    if folder is None:
        raise missing(
            f"{kind}: no folder was given",
            "give one with DATA=<folder> (or --data, or `folder:` under `data:` in the recipe); "
            f"{expected}. `make demo` needs no images",
        )
    # os.path also answers False for what may not be looked at.
    if not os.path.exists(folder):
        raise missing(f"{kind}: {folder} does not exist", "check the path of DATA= or --data")
    if not os.path.isdir(folder):
        raise missing(
            f"{kind}: {folder} is not a folder",
            "give the folder that holds the images; unpack an archive first",
        )
    return folder


def shown_counts(counts: Counter[str]) -> str:
    """`a (3), b (1) and 4 more`, sorted by name."""
    names = sorted(counts)
    shown = ", ".join(f"{name} ({counts[name]})" for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


class ImageFiles:
    """The files of a folder. An id is the path below it, with `/`.

    Symbolic links are followed. Names that begin with a dot are skipped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = str(folder.resolve())

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

    def files(self) -> Iterator[tuple[str, str]]:
        """Folder (below the root, empty or ending in `/`) and name of all images, in no order.

        Raises StageError for a folder that cannot be read, and for an image whose path below the
        root is not UTF-8: manifests, reports and label files could not hold it.
        """
        start: tuple[str, frozenset[tuple[int, int]]] = ("", frozenset())
        pending = [start]
        while pending:
            below, above = pending.pop()
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
                        if _is_folder(entry):
                            pending.append((f"{below}{entry.name}/", above | {here}))
                        elif entry.name.lower().endswith(ENDINGS):
                            self._require_utf8(below, entry.name)
                            yield below, entry.name
            except OSError as error:
                raise StageError(
                    f"this folder {_unreadable(error)}",
                    where=self.where(below),
                    hint="make it readable, or take it out of the folder of images",
                ) from error

    def _require_utf8(self, below: str, name: str) -> None:
        try:
            f"{below}{name}".encode()
        except UnicodeEncodeError as error:
            where = self.where(f"{below}{name}")
            raise StageError(
                "its name is not UTF-8",
                where=printable(where, len(where)),
                hint="rename the file, or the folder whose name it is (`convmv` does many at once)",
            ) from error

    def what_is_there(self) -> str:
        """For an error about a folder without known classes: a few of the names in it."""
        names = sorted(name for name in os.listdir(self._root) if not name.startswith("."))
        if not names:
            return f"{self.folder} is empty"
        images = sorted(below + name for below, name in self.files())
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        example = f", such as {images[0]}" if images else ""
        return (
            f"{self.folder} has no image of a known class; it holds {shown} "
            f"({len(names)} names, {len(images)} images below{example})"
        )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads nowhere. If it is named like an image, it is listed and found broken.
        return False


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"
