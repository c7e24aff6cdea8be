"""The datasets a recipe can name. A new one is a file with an opener, and a line here."""

from collections.abc import Callable
from pathlib import Path

from pipeline.data.dataset import BrokenImage, Dataset, Fingerprint, Item, content_digest
from pipeline.data.digits import open_digits
from pipeline.data.imagenet import open_imagenet
from pipeline.errors import Missing, MissingError, UsageError

__all__ = [
    "DATASETS",
    "BrokenImage",
    "Dataset",
    "Fingerprint",
    "Item",
    "content_digest",
    "dataset_missing",
    "open_dataset",
]

DATASETS: dict[str, Callable[[Path | None], Dataset]] = {
    "imagenet": open_imagenet,
    "digits": open_digits,
}
"""An opener takes the folder of images (None: none was given) and raises MissingError, saying what
to do, where there is nothing to open. One that needs no folder ignores it."""


def open_dataset(name: str, folder: Path | None) -> Dataset:
    """The dataset of that name. Raises UsageError for an unknown one, and what its opener does."""
    if name not in DATASETS:
        raise UsageError(f"unknown dataset {name!r}", hint=f"known: {', '.join(DATASETS)}")
    return DATASETS[name](folder)


def dataset_missing(name: str, folder: Path | None) -> list[Missing]:
    """What stands in the way of using the dataset; empty if nothing. Reads names, no images."""
    try:
        open_dataset(name, folder)
    except MissingError as error:
        return error.missing
    return []
