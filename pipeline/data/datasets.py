"""The datasets a recipe can name. A new one is a file with an opener, and a line here."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_args

from pipeline.data.class_folders import open_folder
from pipeline.data.dataset import BrokenImage, Dataset, Fingerprint, Item, content_digest
from pipeline.data.digits import open_digits
from pipeline.data.imagenet import open_imagenet
from pipeline.data.imagenette import imagenette_missing, open_imagenette
from pipeline.data.imagenetv2 import imagenetv2_missing, open_imagenetv2
from pipeline.data.npy import open_npy
from pipeline.errors import Missing, MissingError, UsageError
from pipeline.progress import Progress, Silent
from pipeline.recipe import DatasetName

__all__ = [
    "DATASETS",
    "BrokenImage",
    "Dataset",
    "Fingerprint",
    "Item",
    "content_digest",
    "dataset_missing",
    "dataset_named",
    "open_dataset",
]


class Opener(NamedTuple):
    """Both are given the folder of images (None: none was given); what needs none ignores it."""

    open: Callable[[Path | None, Progress], Dataset]
    """Raises MissingError, saying what to do, where there is nothing to open. May download."""
    missing: Callable[[Path | None], list[Missing]]
    """What stands in the way, quickly: reads names, no images, and makes no request."""


def _at_hand(open: Callable[[Path | None], Dataset]) -> Opener:
    """For a dataset that is never downloaded: trying to open it is quick enough."""

    def missing(folder: Path | None) -> list[Missing]:
        try:
            open(folder)
        except MissingError as error:
            return error.missing
        return []

    return Opener(lambda folder, _: open(folder), missing)


DATASETS: dict[str, Opener] = {
    "imagenet": _at_hand(open_imagenet),
    "imagenetv2": Opener(open_imagenetv2, imagenetv2_missing),
    "imagenette": Opener(open_imagenette, imagenette_missing),
    "folder": _at_hand(open_folder),
    "npy": _at_hand(open_npy),
    "digits": _at_hand(open_digits),
}


def open_dataset(name: str, folder: Path | None, progress: Progress | None = None) -> Dataset:
    """The dataset of that name, downloaded where it must be and can be.

    Raises UsageError for an unknown name, and what its opener does.
    """
    return _opener(name).open(folder, progress or Silent())


def dataset_missing(name: str, folder: Path | None) -> list[Missing]:
    """What stands in the way of using the dataset; empty if nothing. Reads names, no images, and
    downloads nothing."""
    return _opener(name).missing(folder)


def _opener(name: str) -> Opener:
    if name not in DATASETS:
        raise UsageError(f"unknown dataset {name!r}", hint=f"known: {', '.join(DATASETS)}")
    return DATASETS[name]


def dataset_named(word: str) -> DatasetName:
    """The dataset that a word of the command line means. Raises UsageError with the nearest."""
    known: tuple[DatasetName, ...] = get_args(DatasetName)
    for name in known:
        if name == word:
            return name
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    raise UsageError(f"unknown dataset {word!r}", where="--dataset", hint=hint)
