"""Ground truths are made here from ReaL's labels, as the real ones may not be shipped."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.dataset import Item
from pipeline.data.imagenet import open_imagenet
from pipeline.data.imagenet_truth import find_ground_truth
from pipeline.data.timm_lists import imagenet_synsets, real_labels, single_real_labels
from pipeline.errors import MissingError, StageError

Write = Callable[[str, bytes | int], Path]
SYNSETS = list(imagenet_synsets())
LIKELY = [labels[0] if labels else 0 for labels in real_labels()]
"""A label for each of the 50,000."""
ID_OF_LABEL = [int(n) + 1 for n in np.random.default_rng(1).permutation(1000)]
"""An order of ids that is not the sorted one, as the kit's own is not."""
DEVKIT_TEXT = "ILSVRC2012_validation_ground_truth.txt"


def write_csv(folder: Path, labels: list[int] = LIKELY) -> Path:
    path = folder / "LOC_val_solution.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for n in np.random.default_rng(2).permutation(len(labels)):
            box = f"{SYNSETS[labels[n]]} 1 2 3 4 "
            rows.writerow([f"ILSVRC2012_val_{n + 1:08}", box * (1 + n % 2)])
    return path


def write_devkit(folder: Path, *, mapping: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DEVKIT_TEXT
    path.write_text("".join(f"{ID_OF_LABEL[label]}\n" for label in LIKELY))
    if mapping:
        write_mapping(folder / "meta.mat")
    return path


def write_mapping(path: Path, **changes: Any) -> None:
    """A struct array like the kit's: 1000 classes by id, then the synsets above them."""
    from scipy.io import savemat

    rows = sorted((id, SYNSETS[label]) for label, id in enumerate(ID_OF_LABEL))
    rows += [(1001 + n, f"n{n:08}") for n in range(860)]
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    table = np.array([(float(id), wnid, "word", 0.0) for id, wnid in rows], dtype=kind)
    savemat(path, {"synsets": table.reshape(-1, 1), **changes})


def test_without_any_it_is_the_real_labels_that_timm_ships(folder: Path) -> None:
    truth = find_ground_truth(folder)
    assert truth.labels == single_real_labels() and len(truth.labels) == 39_394
    assert "ReaL labels that timm ships" in truth.source


def test_the_csv(folder: Path) -> None:
    path = write_csv(folder)
    truth = find_ground_truth(folder)
    assert truth.labels == dict(enumerate(LIKELY, start=1))
    assert str(path) in truth.source


def test_it_may_lie_up_to_four_folders_above(folder: Path) -> None:
    write_csv(folder)
    deep = folder / "ILSVRC/Data/CLS-LOC/val"
    deep.mkdir(parents=True)
    assert len(find_ground_truth(deep).labels) == 50_000
    deeper = deep / "x"
    deeper.mkdir()
    assert len(find_ground_truth(deeper).labels) == 39_394


@pytest.mark.parametrize("place", ["", "ILSVRC2012_devkit_t12/data"])
def test_the_development_kit_with_its_mapping(folder: Path, place: str) -> None:
    write_devkit(folder / place)
    truth = find_ground_truth(folder)
    assert truth.labels == dict(enumerate(LIKELY, start=1))
    assert "read with meta.mat" in truth.source


def test_its_text_alone_is_not_enough(folder: Path) -> None:
    write_devkit(folder, mapping=False)
    with pytest.raises(MissingError) as caught:
        find_ground_truth(folder)
    (thing,) = caught.value.missing
    assert "not in the order of a model's outputs" in thing.what
    assert "meta.mat" in thing.hint and "LOC_val_solution.csv" in thing.hint


def test_synsets_in_order(folder: Path) -> None:
    path = folder / "imagenet_2012_validation_synset_labels.txt"
    path.write_text("".join(f"{SYNSETS[label]}\n" for label in LIKELY))
    assert find_ground_truth(folder).labels == dict(enumerate(LIKELY, start=1))


def test_real_labels_of_the_users(folder: Path) -> None:
    (folder / "real.json").write_text(json.dumps([list(row) for row in real_labels()]))
    truth = find_ground_truth(folder)
    assert truth.labels == single_real_labels() and str(folder / "real.json") in truth.source


def test_ids_taken_for_labels_agree_with_nothing(folder: Path) -> None:
    """The well-known trap: the kit's ids, written out as if they were in the sorted order."""
    path = write_csv(folder, [ID_OF_LABEL[label] - 1 for label in LIKELY])
    with pytest.raises(StageError, match="are of another order") as caught:
        find_ground_truth(folder)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("LOC_val_solution.csv", b"ImageId,PredictionString\nval_1,n01440764\n", ":2"),
        ("LOC_val_solution.csv", b"ILSVRC2012_val_00000001,\n", ":1"),
        ("LOC_val_solution.csv", b"ILSVRC2012_val_00000001\n", ":1"),
        ("LOC_val_solution.csv", b"ILSVRC2012_val_00000001,n00000000 1\n", ":1"),
        (
            "LOC_val_solution.csv",
            b"ILSVRC2012_val_00000001,n01440764\nILSVRC2012_val_00000001,n01443537\n",
            ":2",
        ),
        ("LOC_val_solution.csv", b"\xff\xfe", ""),
        ("LOC_val_solution.csv", b"a," + b"x" * 200_000, ""),
        ("imagenet_2012_validation_synset_labels.txt", b"n01440764\n", ""),
        ("imagenet_2012_validation_synset_labels.txt", b"n01440764\n" * 49_999 + b"x\n", ":50000"),
        ("real.json", b"[[", ""),
        ("real.json", b"[" * 100_000, ""),
        ("real.json", b"{}", ""),
        ("real.json", b"[[1]]", ""),
        ("real.json", json.dumps([[1000]] * 50_000).encode(), ""),
        ("real.json", json.dumps([1] * 50_000).encode(), ""),
    ],
)
def test_malformed(folder: Path, name: str, content: bytes, line: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(StageError) as caught:
        find_ground_truth(folder)
    assert caught.value.where == f"{folder / name}{line}"


@pytest.mark.parametrize("content", [b"1\n", b"1\n" * 49_999 + b"0\n", b"x\n" * 50_000])
def test_a_malformed_text_of_the_kit(folder: Path, content: bytes) -> None:
    write_devkit(folder).write_bytes(content)
    with pytest.raises(StageError) as caught:
        find_ground_truth(folder)
    assert caught.value.where.startswith(str(folder / DEVKIT_TEXT))


def test_malformed_mappings(folder: Path) -> None:
    write_devkit(folder)
    path = folder / "meta.mat"
    good = path.read_bytes()
    other = {"synsets": np.arange(3)}
    for content in (
        b"",
        b"MATLAB 5.0",
        good[:200],
        good[: len(good) // 2],
        b"\0" * 500,
        good[:128],
    ):
        path.write_bytes(content)
        with pytest.raises(StageError) as caught:
            find_ground_truth(folder)
        assert caught.value.where == str(path)
    write_mapping(path, **other)
    with pytest.raises(StageError, match="no list of synsets"):
        find_ground_truth(folder)
    twisted = np.array([(1.0, "n01440764")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    write_mapping(path, synsets=np.repeat(twisted, 1000))
    with pytest.raises(StageError, match="not the 1000 synsets"):
        find_ground_truth(folder)


def test_the_flat_files_with_a_csv(folder: Path, write: Write) -> None:
    for n in (1, 2, 50_000):
        write(f"val/ILSVRC2012_val_{n:08}.JPEG", n)
    write("val/ILSVRC2012_val_00000003_n01484850.JPEG", 3)
    path = write_csv(folder)
    dataset = open_imagenet(folder / "val")
    assert dataset.listing() == [
        Item("ILSVRC2012_val_00000001.JPEG", LIKELY[0]),
        Item("ILSVRC2012_val_00000002.JPEG", LIKELY[1]),
        Item("ILSVRC2012_val_00000003_n01484850.JPEG", 2),
        Item("ILSVRC2012_val_00050000.JPEG", LIKELY[-1]),
    ]
    assert dataset.notes() == (f"{folder / 'val'}: labels are those of {path}",)


def test_the_flat_files_alone_have_single_real_labels(folder: Path, write: Write) -> None:
    """Of the first five ReaL gives one no label, three several, and one a single one."""
    assert [len(labels) for labels in real_labels()[:5]] == [0, 2, 2, 1, 2]
    for n in range(1, 6):
        write(f"ILSVRC2012_val_{n:08}.JPEG", n)
    dataset = open_imagenet(folder)
    assert dataset.listing() == [Item("ILSVRC2012_val_00000004.JPEG", 809)]
    (note,) = dataset.notes()
    assert "ReaL labels that timm ships" in note and "4 images were left out" in note


def test_a_number_beyond_the_set_is_left_out(folder: Path, write: Write) -> None:
    write("ILSVRC2012_val_00000004.JPEG", 1)
    write("ILSVRC2012_val_00050001.JPEG", 2)
    assert len(open_imagenet(folder).listing()) == 1


def test_class_folders_need_no_ground_truth(folder: Path, write: Write) -> None:
    write("n01440764/ILSVRC2012_val_00000293.JPEG", 1)
    write_devkit(folder, mapping=False)
    dataset = open_imagenet(folder)
    assert dataset.listing() == [Item("n01440764/ILSVRC2012_val_00000293.JPEG", 0)]
    assert dataset.notes() == ()


def test_what_cannot_be_used_is_missing_before_the_run(folder: Path, write: Write) -> None:
    from pipeline.data.datasets import dataset_missing

    write("ILSVRC2012_val_00000004.JPEG", 1)
    write_devkit(folder, mapping=False)
    (thing,) = dataset_missing("imagenet", folder)
    assert thing.what.startswith("ImageNet ground truth: ")
