"""What a dataset of labelled images is to the rest of the pipeline.

An image has an `id` (a name, which may change when files move) and a *content* (bytes, whose
sha256 is the image's identity everywhere else). Drawing, disjointness and cache keys go by content.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.errors import StageError

if TYPE_CHECKING:
    from PIL.Image import Image


class Item(NamedTuple):
    """One image of a dataset and its class, counted from 0."""

    id: str
    label: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells cheaply whether a file is still the one that was hashed (size is in bytes)."""

    path: str
    size: int
    mtime_ns: int


class BrokenImage(StageError):
    """An image that cannot be read or decoded; `reason` says why, without the file's name."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"this image {reason}",
            where=where,
            hint="replace or remove it, or write `broken_images: skip` under `data:` to leave "
            "such images out and count them",
        )
        self.reason = reason


class Dataset(Protocol):
    """Labelled images that can be listed, read and decoded."""

    @property
    def name(self) -> str:
        """The name recipes call it by."""

    @property
    def class_count(self) -> int:
        """Labels are `0 <= label < class_count`."""

    def listing(self) -> list[Item]:
        """Every image, sorted by id; the order of the disk does not show."""

    def notes(self) -> tuple[str, ...]:
        """What the listing left out, for the user."""

    def where(self, id: str) -> str:
        """What errors call the image: the path of its file."""

    def fingerprint(self, id: str) -> Fingerprint | None:
        """The file's fingerprint, or None for content that is no file and cannot break.

        Raises BrokenImage where the file is gone.
        """

    def content(self, id: str) -> bytes:
        """The bytes whose digest is the image's identity. Raises BrokenImage if unreadable."""

    def decode(self, id: str, content: bytes) -> "Image":
        """The image in those bytes; `id` only names it in errors. Raises BrokenImage."""

    def image(self, id: str) -> "Image":
        """The decoded image. Raises BrokenImage naming it."""


def content_digest(content: bytes) -> str:
    """sha256 in hexadecimal: the identity of an image."""
    return hashlib.sha256(content).hexdigest()
