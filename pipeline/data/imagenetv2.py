"""ImageNetV2, matched frequency: 10,000 new photographs, ten of each of ImageNet's classes.

Recht et al., "Do ImageNet Classifiers Generalize to ImageNet?" (arXiv 1902.10811). Models lose
about eleven points against ImageNet's own validation images, so accuracies are compared with those
published for this set. Class folders are called 0 to 999, in the order of ImageNet's labels.
"""

import os
from collections import Counter
from pathlib import Path

from pipeline.data.archives import Archive, archive_missing, obtain
from pipeline.data.dataset import Item
from pipeline.data.download import Remote
from pipeline.data.image_files import ImageFiles, missing, require_folder, shown_counts
from pipeline.data.unpack import Limits
from pipeline.errors import Missing, MissingError, StageError
from pipeline.progress import Progress

CLASS_COUNT = 1000
IMAGE_COUNT = 10_000
INNER = "imagenetv2-matched-frequency-format-val"
EXPECTED = (
    f"expected are class folders called 0 to 999, also below {INNER}/; "
    "without a folder the images are downloaded (1.3 GB)"
)


def archive() -> Archive:
    """On the hub, or on the mirror that `HF_ENDPOINT` names."""
    hub = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    name = "imagenetv2-matched-frequency.tar.gz"
    return Archive(
        Remote(
            name=name,
            url=f"{hub}/datasets/vaishaal/ImageNetV2/resolve/main/{name}",
            sha256="f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
            published="TensorFlow Datasets, imagenet_v2/checksums.tsv",
            size=1_264_079_360,
            by_hand=f"download {name} by other means, unpack it, and give its folder by DATA=",
        ),
        Limits(files=12_000, bytes=2 << 30),
    )


def open_imagenetv2(folder: Path | None, progress: Progress) -> "ImagenetV2":
    """The images in `folder`, or without one those of the cache, downloaded where they must be.

    Raises MissingError where there are none, and StageError where they cannot be had.
    """
    if folder is not None:
        require_folder(folder, "ImageNetV2 images", EXPECTED)
        dataset = ImagenetV2(folder / INNER if (folder / INNER).is_dir() else folder)
        if not dataset.listing():
            raise missing(f"ImageNetV2 images: {dataset.what_is_there()}", EXPECTED)
        return dataset
    unpacked, source = obtain(archive(), progress)
    dataset = ImagenetV2(unpacked / INNER, f"ImageNetV2: {source}")
    count = len(dataset.listing()) if (unpacked / INNER).is_dir() else 0
    if count != IMAGE_COUNT:
        raise StageError(
            f"{count} images of ImageNetV2 instead of {IMAGE_COUNT}: the cache is damaged",
            where=str(unpacked),
            hint="remove this folder to have it downloaded again",
        )
    return dataset


def imagenetv2_missing(folder: Path | None) -> list[Missing]:
    """What stands in the way. Makes no request."""
    if folder is None:
        return archive_missing(archive())
    try:
        require_folder(folder, "ImageNetV2 images", EXPECTED)
    except MissingError as error:
        return error.missing
    return []


class ImagenetV2(ImageFiles):
    """Images by class number. An id is the path below the folder, with `/`."""

    name = "imagenetv2"
    class_count = CLASS_COUNT

    def __init__(self, folder: Path, *notes: str) -> None:
        super().__init__(folder)
        self._items: list[Item] | None = None
        self._notes = notes

    def listing(self) -> list[Item]:
        """Every image in a class folder, sorted by id."""
        if self._items is None:
            items: list[Item] = []
            unknown: Counter[str] = Counter()
            for below, name in self.files():
                folder = below.partition("/")[0]
                if folder.isascii() and folder.isdecimal() and int(folder) < CLASS_COUNT:
                    items.append(Item(below + name, int(folder)))
                else:
                    unknown[below.rstrip("/") or "."] += 1
            self._items = sorted(items)
            if unknown:
                left_out = f"{unknown.total()} images in no folder called 0 to 999 were left out"
                self._notes += (f"{self.folder}: {left_out}: {shown_counts(unknown)}",)
        return self._items

    def notes(self) -> tuple[str, ...]:
        """Where the images are from, and what was left out."""
        self.listing()
        return self._notes
