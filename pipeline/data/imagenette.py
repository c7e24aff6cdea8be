"""Imagenette: ten easily told classes of ImageNet, 320 pixels on the shorter side.

Most of its pictures are ImageNet *training* images, which published models have seen: accuracies
come out too high, drops are still drops. Only its `val` part (3925 images) is listed, so that a
model that was fine-tuned on its `train` part is not judged on that. Labels are ImageNet's.
"""

from pathlib import Path

from pipeline.data.archives import Archive, archive_missing, obtain
from pipeline.data.download import Remote
from pipeline.data.image_files import missing, require_folder
from pipeline.data.imagenet import Imagenet
from pipeline.data.unpack import Limits
from pipeline.errors import Missing, MissingError, StageError
from pipeline.progress import Progress

NAME = "imagenette2-320"
IMAGE_COUNT = 3925
EXPECTED = (
    f"expected is {NAME} as it is published, or its val folder; "
    "without a folder it is downloaded (0.3 GB)"
)
ARCHIVE = Archive(
    Remote(
        name=f"{NAME}.tgz",
        url=f"https://s3.amazonaws.com/fast-ai-imageclas/{NAME}.tgz",
        sha256="569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c",
        published="TensorFlow Datasets, imagenette/checksums.tsv",
        size=341_663_724,
        by_hand=f"download {NAME}.tgz by other means, unpack it, and give its folder by DATA=",
    ),
    Limits(files=20_000, bytes=1 << 30),
)
_SEEN = "Imagenette's pictures are mostly ImageNet training images: accuracies come out too high"


def open_imagenette(folder: Path | None, progress: Progress) -> "Imagenette":
    """The validation images in `folder`, or without one those of the cache, downloaded where they
    must be.

    Raises MissingError where there are none, and StageError where they cannot be had.
    """
    if folder is not None:
        require_folder(folder, "Imagenette images", EXPECTED)
        dataset = Imagenette(_validation(folder), _SEEN)
        if not dataset.has_images():
            raise missing(f"Imagenette images: {dataset.what_is_there()}", EXPECTED)
        return dataset
    unpacked, source = obtain(ARCHIVE, progress)
    dataset = Imagenette(_validation(unpacked), f"Imagenette: {source}", _SEEN)
    count = len(dataset.listing())
    if count != IMAGE_COUNT:
        raise StageError(
            f"{count} images of Imagenette's val part instead of {IMAGE_COUNT}: the cache is "
            "damaged",
            where=str(unpacked),
            hint="remove this folder to have it downloaded again",
        )
    return dataset


def imagenette_missing(folder: Path | None) -> list[Missing]:
    """What stands in the way. Makes no request."""
    if folder is None:
        return archive_missing(ARCHIVE)
    try:
        require_folder(folder, "Imagenette images", EXPECTED)
    except MissingError as error:
        return error.missing
    return []


class Imagenette(Imagenet):
    """A folder of ImageNet images, of ten classes."""

    name = "imagenette"

    def __init__(self, folder: Path, *notes: str) -> None:
        super().__init__(folder)
        self._first_notes = notes

    def notes(self) -> tuple[str, ...]:
        """Where the images are from and what to think of them, and what was left out."""
        return (*self._first_notes, *super().notes())


def _validation(folder: Path) -> Path:
    places = (folder / NAME / "val", folder / "val")
    return next((place for place in places if place.is_dir()), folder)
