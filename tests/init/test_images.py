"""Which dataset a folder is, and what its images can show."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pipeline.check import gate, sequential
from pipeline.data.class_balance import uneven_classes
from pipeline.data.draw import stratified
from pipeline.data.samples import Sample
from pipeline.errors import MissingError, UsageError
from pipeline.init.findings import Images
from pipeline.init.images import LIMITS, fitting, images_for, open_images, uneven_after


def photos(folder: Path, classes: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (2, 2), (number, index % 256, index // 256)).save(
                folder / name / f"{index}.png"
            )
    return folder


def looked(folder: Path | None, *, quantized: bool = False) -> Images:
    return images_for(folder and open_images(folder), quantized=quantized)


def test_without_a_folder_it_is_imagenet() -> None:
    images = looked(None)
    assert (images.dataset, images.total, images.evaluation) == ("imagenet", None, None)
    assert (images.calibration, images.selection, images.auto) == (128, 64, True)
    assert images.limit == 0.005


def test_imagenet_in_class_folders_and_flat(tmp_path: Path, tiny: Path) -> None:
    flat = looked(tiny / "images")
    assert (flat.dataset, flat.total, flat.last_label) == ("imagenet", 80, 9)
    assert (flat.calibration, flat.selection, flat.evaluation) == (20, 10, 50)
    assert flat.uneven == ("only 10 of 1000 classes have images",)
    folders = photos(tmp_path / "val", {"n01440764": 10, "n01443537": 10})
    assert looked(folders).dataset == "imagenet"


def test_photos_of_any_classes(tmp_path: Path) -> None:
    images = looked(photos(tmp_path / "photos", {"cats": 40, "dogs": 40, "n01440764": 1}))
    assert (images.dataset, images.classes, images.total) == ("folder", 3, 81)
    assert "may have no image left" in images.uneven[0]
    even = looked(photos(tmp_path / "even", {"cats": 40, "dogs": 40}))
    assert even.uneven == ()


SUBSET = {"n01440764": 10, "n02102040": 10, "n03888257": 10}
"""Some of Imagenette's synsets, of ImageNet's classes 0 to 701."""


@pytest.mark.parametrize(
    ("outputs", "dataset"),
    [(3, "folder"), (4, "folder"), (2, "imagenet"), (5, "imagenet"), (702, "imagenet"),
     (1000, "imagenet"), (1001, "imagenet")],
)  # fmt: skip
def test_a_subset_of_imagenet_is_classes_of_its_own_for_a_model_of_them(
    tmp_path: Path, outputs: int, dataset: str
) -> None:
    opened = fitting(open_images(photos(tmp_path / "val", SUBSET)), outputs)
    images = images_for(opened, quantized=False)
    assert images.dataset == dataset
    assert (images.classes, images.last_label) == ((3, 2) if dataset == "folder" else (1000, 701))


def test_synsets_further_down_stay_imagenet(tmp_path: Path) -> None:
    """Their classes would be `train` and `val`."""
    photos(tmp_path / "train", SUBSET)
    photos(tmp_path / "val", SUBSET)
    assert fitting(open_images(tmp_path), 3).name == "imagenet"


def test_other_images_stay_what_they_are(tmp_path: Path) -> None:
    opened = open_images(photos(tmp_path / "photos", {"cats": 40, "dogs": 40}))
    assert fitting(opened, 1) is opened


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((40, 4, 4, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(40) % 4)
    images = looked(tmp_path)
    assert (images.dataset, images.classes, images.calibration) == ("npy", 4, 10)


def test_numbered_folders_are_imagenetv2(tmp_path: Path) -> None:
    folder = photos(tmp_path / "v2", {str(number): 1 for number in range(1000)})
    assert looked(folder).dataset == "imagenetv2"


@pytest.mark.parametrize("make", ["missing", "file", "empty", "flat"])
def test_a_folder_without_known_images(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "photos"
    if make == "file":
        folder.write_text("")
    elif make != "missing":
        folder.mkdir()
        if make == "flat":
            Image.new("RGB", (2, 2)).save(folder / "holiday.png")
    with pytest.raises(MissingError):
        looked(folder)


def test_too_few_images(tmp_path: Path) -> None:
    folder = photos(tmp_path / "few", {"cats": 4, "dogs": 3})
    with pytest.raises(UsageError, match="7 images are too few"):
        looked(folder)
    assert looked(folder, quantized=True).calibration == 1


class Many:
    """A dataset of so many images, of which only the numbers matter."""

    name, class_count = "folder", 4

    def __init__(self, total: int) -> None:
        self.total = total

    def listing(self) -> list[Any]:
        from pipeline.data.dataset import Item

        return [Item(str(n), n % 4) for n in range(self.total)]

    def notes(self) -> tuple[str, ...]:
        return ()


@given(st.integers(8, 6000))
def test_the_limit_can_be_shown_and_all_images_are_used(total: int) -> None:
    from pipeline.init.images import Opened

    dataset: Any = Many(total)
    images = images_for(Opened(Path("x"), "folder", dataset), quantized=False)
    left = images.evaluation
    assert left is not None and left >= total // 2
    assert images.calibration <= 128 and images.selection <= 64
    method = sequential if images.auto else gate
    if images.limit is None:
        assert not gate.attainable(left, LIMITS[-1], 0.95)
    else:
        assert method.attainable(left, images.limit, 0.95)
        assert images.limit in LIMITS
    if images.auto:
        assert (images.calibration, images.selection, images.limit) == (128, 64, 0.005)


@example({0: 3, 1: 21, 2: 3}, 1, 1)
@given(
    st.dictionaries(st.integers(0, 5), st.integers(1, 30), min_size=1),
    st.integers(0, 20),
    st.integers(1, 6),
)
def test_what_is_said_to_be_even_is_even_in_a_run(
    counts: dict[int, int], taken: int, classes: int
) -> None:
    """The drawing itself, on images that are only names."""
    classes = max(classes, max(counts) + 1)
    samples = [
        Sample(f"{label}/{n}", label, f"{label:032}{n:032}")
        for label, count in counts.items()
        for n in range(count)
    ]
    if taken >= len(samples):
        return
    left = stratified(samples, 0)[taken:]
    if not uneven_after(Counter(counts), taken, classes):
        assert not uneven_classes(left, classes)
