"""The images of one purpose (calibration, selection, evaluation), in a fixed order."""

import hashlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.data.dataset import Dataset, content_digest
from pipeline.data.look_ahead import look_ahead
from pipeline.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


class View(Protocol):
    """What turns a picture into a crop: the model's own view (`Preprocess`) or the device's."""

    def crop_image(self, image: "Image") -> "NDArray[np.uint8]":
        """The crop, `uint8 [H, W, 3]`."""


class Sample(NamedTuple):
    """One image: its name, its class, and the sha256 of its content."""

    id: str
    label: int
    digest: str


@dataclass(frozen=True)
class Samples:
    """An ordered set of images of one dataset."""

    name: str
    """What they are for: `calibration`, `selection` or `evaluation`."""
    dataset: Dataset
    items: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def digest(self) -> str:
        """sha256 over the `digest label` lines in order: the identity used in cache keys.

        Names and places of files do not enter; contents, labels and order do.
        """
        lines = (f"{sample.digest} {sample.label}\n" for sample in self.items)
        return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()

    def part(self, start: int, stop: int) -> "Samples":
        """Those from place `start` to before `stop`."""
        return replace(self, items=self.items[start:stop])

    def labels(self) -> "NDArray[np.int64]":
        """`int64 [n]`, in order."""
        import numpy as np

        return np.array([sample.label for sample in self.items], np.int64)

    def crops(
        self, view: View, batch: int, workers: int = 2
    ) -> "Generator[tuple[NDArray[np.uint8], NDArray[np.int64]], None, None]":
        """Batches of crops `uint8 [n, H, W, 3]` and labels `int64 [n]`, in order; the last is less.

        Threads decode at most a batch ahead of the consumer, so memory does not grow with the
        number of images. Raises BrokenImage for an image that cannot be decoded and StageError for
        one whose content is no longer what was drawn, both naming it.
        """
        import numpy as np

        def crop(sample: Sample) -> "NDArray[np.uint8]":
            return view.crop_image(self.dataset.decode(sample.id, self._drawn_content(sample)))

        labels = self.labels()
        limit = batch + workers
        # Closed at once when the consumer stops early, so that no thread goes on decoding.
        with closing(look_ahead(crop, self.items, workers=workers, limit=limit)) as crops:
            for start in range(0, len(self.items), batch):
                part = labels[start : start + batch]
                yield np.stack([next(crops) for _ in part]), part

    def _drawn_content(self, sample: Sample) -> bytes:
        """Hashing costs a fiftieth of decoding, and makes sure that what runs is what was drawn."""
        content = self.dataset.content(sample.id)
        if content_digest(content) != sample.digest:
            raise StageError(
                f"the content is not the one that was drawn for {self.name}",
                where=self.dataset.where(sample.id),
                hint="the file was replaced meanwhile, or with its time kept: `touch` it to have "
                "it read anew, and run again",
            )
        return content
