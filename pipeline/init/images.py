"""Which dataset a folder is, how many images each set takes of it, and what they can show."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.check import gate, sequential
from pipeline.data.class_balance import STRONG
from pipeline.errors import MissingError, StageError, UsageError
from pipeline.init.findings import Images
from pipeline.recipe import FRACTION_LIMIT, DatasetName

if TYPE_CHECKING:
    from pipeline.data.datasets import Dataset

CALIBRATION, SELECTION = 128, 64
LIMITS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, FRACTION_LIMIT)
"""Drops that a check may be asked to stay within. The first is what users want to hear; the others
are for fewer images."""
CONFIDENCE = 0.95
ROOM = 2.0
"""How many times what could be shown if no image changed a limit should be: some always change."""


@dataclass(frozen=True)
class Opened:
    """The images of a folder."""

    folder: Path
    name: DatasetName
    dataset: "Dataset"


def open_images(folder: Path) -> Opened:
    """The images below a folder, as the dataset that they are.

    Raises MissingError for a folder without images that are known here, StageError for one whose
    classes are in doubt.
    """
    return Opened(folder, *_dataset(folder))


def fitting(opened: Opened, outputs: int) -> Opened:
    """Synset folders as classes of their own, where a model has an output for each of them (and maybe
    one for a background) but none for the last of their numbers among ImageNet's 1000: it was
    trained on such a subset. Any other images are as they were opened."""
    from pipeline.data.class_folders import open_folder

    if opened.name != "imagenet":
        return opened
    if max(item.label for item in opened.dataset.listing()) < outputs:
        return opened
    try:
        folders = open_folder(opened.folder)
    except (MissingError, StageError):  # no class folders right below; what is there stays ImageNet
        return opened
    if folders.class_count not in (outputs, outputs - 1):
        return opened
    return replace(opened, name="folder", dataset=folders)


def images_for(opened: Opened | None, *, quantized: bool) -> Images:
    """How many each set takes; without a folder those of ImageNet, to be given later. A model that
    comes quantized needs one image as a sample, and none to choose by.

    Raises UsageError for too few images.
    """
    calibration, selection = (1, 0) if quantized else (CALIBRATION, SELECTION)
    if opened is None:
        return Images(
            "imagenet", None, None, 1000, None, (), calibration, selection, True, LIMITS[0], 0.0
        )
    dataset = opened.dataset
    counts = Counter(item.label for item in dataset.listing())
    total = counts.total()
    calibration, selection = min(calibration, total // 4), min(selection, total // 8)
    if not calibration or not (selection or quantized):
        raise UsageError(
            f"{total} images are too few to calibrate, to choose and to judge on",
            where=str(opened.folder),
            hint="some hundred are the least that tell anything",
        )
    left = total - calibration - selection
    smallest = gate.smallest_provable_drop(left, CONFIDENCE)
    limit = _limit(smallest)
    enough = sequential.least_images(LIMITS[0], CONFIDENCE)
    return Images(
        dataset=opened.name,
        folder=opened.folder,
        total=total,
        classes=dataset.class_count,
        last_label=max(counts),
        uneven=uneven_after(counts, calibration + selection, dataset.class_count),
        calibration=calibration,
        selection=selection,
        auto=limit == LIMITS[0] and enough is not None and left >= ROOM * enough,
        limit=limit,
        smallest=smallest,
        notes=dataset.notes(),
    )


def uneven_after(counts: Counter[int], taken: int, class_count: int) -> tuple[str, ...]:
    """What is wrong with the numbers of images by class, in words, once `taken` of them are in other
    sets. Those take the classes in turn; which ones a last, incomplete turn takes is not known here,
    so each of them may have lost one more, or none."""
    left, most_left = Counter(counts), Counter(counts)
    while taken > 0 and (turn := [label for label in left if left[label]]):
        left.subtract(turn)
        if taken >= len(turn):
            most_left.subtract(turn)
        taken -= len(turn)
    wrong = []
    if len(counts) < class_count:
        wrong.append(f"only {len(counts)} of {class_count} classes have images")
    elif not all(left.values()):
        few = sum(not count for count in left.values())
        wrong.append(f"{few} of {class_count} classes may have no image left to judge on")
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if max(most_left.values()) > STRONG * max(1, min(left.values())):
        wrong.append(
            f"class {most} has {counts[most]} images and class {least} has {counts[least]}"
        )
    return tuple(wrong)


def _limit(smallest: float) -> float | None:
    """The least limit with room for some images to change, or else the largest that is allowed."""
    with_room = next((limit for limit in LIMITS if limit >= ROOM * smallest), None)
    return with_room or (LIMITS[-1] if smallest <= LIMITS[-1] else None)


def _dataset(folder: Path) -> "tuple[DatasetName, Dataset]":
    """By what is in it: arrays, ImageNet's synsets, ImageNetV2's numbers, or classes of any kind.

    A folder in which a name here and there looks like a synset's is not ImageNet.
    """
    from pipeline.data.class_folders import open_folder
    from pipeline.data.imagenet import open_imagenet
    from pipeline.data.imagenetv2 import CLASS_COUNT, INNER, open_imagenetv2
    from pipeline.data.npy import IMAGES, open_npy
    from pipeline.progress import Silent

    if (folder / IMAGES).is_file():
        return "npy", open_npy(folder)
    inner = folder / INNER if (folder / INNER).is_dir() else folder
    numbers = {str(number) for number in range(CLASS_COUNT)}
    if inner.is_dir() and numbers <= {path.name for path in inner.iterdir()}:
        return "imagenetv2", open_imagenetv2(folder, Silent())
    try:
        imagenet = open_imagenet(folder)
    except MissingError:
        return "folder", open_folder(folder)
    listed = len(imagenet.listing())
    if 2 * listed >= sum(1 for _ in imagenet.files()):
        return "imagenet", imagenet
    try:
        return "folder", open_folder(folder)
    except (MissingError, StageError):
        return "imagenet", imagenet
