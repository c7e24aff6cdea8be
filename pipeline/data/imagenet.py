"""ImageNet (ILSVRC2012) images in a folder of the user's.

The class of an image is the synset that its path names: a folder above it (`n01440764/x.JPEG`,
also below `val/` or `train/`), or else its own name (`n01440764_x.JPEG`, or
`ILSVRC2012_val_00000001_n01751748.JPEG`). Validation images whose path names none, as the original
archive has them (`ILSVRC2012_val_00000001.JPEG`), get it from the ground truth that is at hand
(`imagenet_truth.py`). The label is the synset's index in the ILSVRC2012 order, which is the sorted
order; the list is the one that timm ships.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.dataset import Item
from pipeline.data.image_files import ImageFiles, missing, require_folder, shown_counts
from pipeline.data.imagenet_truth import GroundTruth, find_ground_truth
from pipeline.data.timm_lists import imagenet_synsets
from pipeline.errors import StageError

CLASS_COUNT = 1000
EXPECTED = (
    "expected are class folders named by synset (n01440764/*.JPEG, also below val/ or train/), "
    "images named <synset>_*.JPEG, or the validation images as they were published "
    "(ILSVRC2012_val_*.JPEG), with endings .jpeg, .jpg or .png"
)
_SYNSET = re.compile(r"n\d{8}")
_SYNSET_IN_NAME = re.compile(r"(?:ILSVRC2012_val_\d{8}_)?(n\d{8})[_.]")
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.")


def open_imagenet(folder: Path | None) -> "Imagenet":
    """The images below `folder`. Raises MissingError where there is no image of a known class."""
    dataset = Imagenet(require_folder(folder, "ImageNet images", EXPECTED))
    if not dataset.has_images():
        raise missing(f"ImageNet images: {dataset.what_is_there()}", EXPECTED)
    return dataset


class Imagenet(ImageFiles):
    """A folder of ImageNet images. An id is the path below the folder, with `/`.

    Symbolic links are followed. Names that begin with a dot are skipped.
    """

    name = "imagenet"
    class_count = CLASS_COUNT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._items: list[Item] | None = None
        self._notes: tuple[str, ...] = ()
        self._truth: GroundTruth | None = None

    def listing(self) -> list[Item]:
        """Every image of a known class, sorted by id.

        Raises StageError for an unreadable folder or ground truth and for an image whose folder and
        name say different classes, MissingError for a ground truth that cannot be used.
        """
        if self._items is None:
            items: list[Item] = []
            unknown: Counter[str] = Counter()
            uncertain = 0
            for id, label in self._labelled():
                if label is not None:
                    items.append(Item(id, label))
                elif _validation_number(id) is not None:
                    uncertain += 1
                else:
                    unknown[os.path.dirname(id) or "."] += 1
            self._items = sorted(items)
            self._notes = (*self._truth_notes(uncertain), *_unknown_note(self.folder, unknown))
        return self._items

    def notes(self) -> tuple[str, ...]:
        """Which ground truth labels the images, and what was left out, by folder."""
        self.listing()
        return self._notes

    @property
    def labelled_by_real(self) -> bool:
        """Whether ReaL labels stand in where no path names a class."""
        self.listing()
        return self._truth is not None and self._truth.real

    def has_images(self) -> bool:
        """Whether any image is of a known class; stops at the first."""
        return any(label is not None for _, label in self._labelled())

    def _labelled(self) -> Iterator[tuple[str, int | None]]:
        """Ids of all images below, in no order, each with its label (or None)."""
        labels = imagenet_synsets()
        named: dict[str, str | None] = {}
        for below, name in self.files():
            if below not in named:
                named[below] = _synset_of_folder(below)
            id = below + name
            synset = self._agreed(id, named[below], name)
            number = _validation_number(id)
            if synset is not None:
                yield id, labels.get(synset)
            elif number is not None:
                yield id, self._ground_truth().labels.get(number)
            else:
                yield id, None

    def _ground_truth(self) -> GroundTruth:
        if self._truth is None:
            self._truth = find_ground_truth(self.folder)
        return self._truth

    def _truth_notes(self, uncertain: int) -> tuple[str, ...]:
        if self._truth is None:
            return ()
        left_out = f"; {uncertain} images were left out, {self._truth.silence}" * bool(uncertain)
        return (f"{self.folder}: labels are {self._truth.source}{left_out}",)

    def _agreed(self, id: str, folder: str | None, name: str) -> str | None:
        found = _SYNSET_IN_NAME.match(name)
        if folder is None or found is None or found[1] not in imagenet_synsets():
            return folder or (found[1] if found else None)
        if found[1] != folder:
            raise StageError(
                f"the folder says class {folder}, the file's name says {found[1]}",
                where=self.where(id),
                hint="move the file to the folder of its class, or rename it",
            )
        return folder


def _synset_of_folder(below: str) -> str | None:
    """The nearest folder that is named like a synset."""
    return next((part for part in reversed(below.split("/")) if _SYNSET.fullmatch(part)), None)


def _validation_number(id: str) -> int | None:
    found = _VALIDATION.match(id.rpartition("/")[2])
    return int(found[1]) if found else None


def _unknown_note(folder: Path, unknown: Counter[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    return (
        f"{folder}: {unknown.total()} images of no ImageNet class were left out, "
        f"from {len(unknown)} folders: {shown_counts(unknown)}",
    )
