from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.data.class_folders import open_folder
from pipeline.data.dataset import BrokenImage, Item
from pipeline.data.digest_index import DigestIndex
from pipeline.data.manifest import read_manifest
from pipeline.data.subset import (
    Subset,
    draw_from_dataset,
    draw_from_real_labels,
    make_subset,
    write_manifest,
)
from pipeline.data.timm_lists import single_real_labels
from pipeline.errors import MissingError, StageError, UsageError
from pipeline.progress import Silent

Write = Callable[[str, bytes | int], Path]
SHIPPED = Path(pipeline.__file__).parents[1] / "calibration" / "imagenet-val-1000.txt"


def draw(folder: Path, images: int, seed: int = 0, **options: str) -> Subset:
    index = DigestIndex(folder.parent / "images.json")
    return draw_from_dataset(open_folder(folder), images, seed, index, Silent(), **options)  # type: ignore[arg-type]


@pytest.fixture
def uneven(folder: Path, write: Write) -> Path:
    """Classes a to e of 1, 2, 3, 4 and 5 images."""
    number = 0
    for count, name in enumerate("abcde", start=1):
        for place in range(count):
            write(f"{name}/{place}.png", number)
            number += 1
    return folder


def test_the_shipped_manifest_is_what_its_command_draws(tmp_path: Path) -> None:
    shipped = SHIPPED.read_bytes()
    command = shipped.decode().splitlines()[1].removeprefix("#").split()
    assert command[:2] == ["pipeline", "subset"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert options["--labels"] == "real"
    drawn = tmp_path / "drawn.txt"
    make_subset(
        drawn,
        options["--dataset"],
        None,
        int(options["--images"]),
        int(options["--seed"]),
        tmp_path,
        Silent(),
        labels="real",
    )
    assert drawn.read_bytes() == shipped


def test_the_shipped_manifest_has_each_class_once_by_its_single_real_label() -> None:
    listing = [
        Item(f"ILSVRC2012_val_{n:08}.JPEG", label) for n, label in single_real_labels().items()
    ]
    lines = read_manifest(SHIPPED, "imagenet", listing)
    assert sorted(line.item.label for line in lines) == list(range(1000))


def test_the_shipped_manifest_finds_its_images_in_class_folders(
    folder: Path, write: Write, tmp_path: Path
) -> None:
    """Whose labels are ImageNet's own: of some images another than ReaL's."""
    from pipeline.data.draw import draw_samples
    from pipeline.data.timm_lists import imagenet_synsets
    from pipeline.recipe import Data

    synsets = list(imagenet_synsets())
    rows = [line.split() for line in SHIPPED.read_text().splitlines() if line[0] != "#"][:40]
    (tmp_path / "few.txt").write_text("".join(f"{id} {label}\n" for id, label in rows))
    for place, (id, label) in enumerate(rows):
        moved = 1 if place in (3, 30) else 0
        write(f"val/{synsets[(int(label) + moved) % 1000]}/{id}", place)
    write("val/n01440764/ILSVRC2012_val_00000293.JPEG", 99)
    data = Data.model_validate(
        {
            "calibration": {"dataset": "imagenet", "manifest": "few.txt"},
            "evaluation": {"dataset": "imagenet"},
            "uneven_classes": "accept",
        }
    )
    index = DigestIndex(tmp_path / "images.json")
    sets = draw_samples(data, folder, tmp_path, index, Silent())
    assert [sample.id.rpartition("/")[2] for sample in sets.calibration.items] == [
        id for id, _ in rows
    ]
    assert any("2 of the manifest's 40 images have another label" in note for note in sets.notes)


def test_real_subsets_need_no_images_and_have_every_class_first() -> None:
    subset = draw_from_real_labels(2500, 7)
    labels = [item.label for item in subset.items]
    assert len(set(subset.items)) == 2500 and subset.notes == ()
    assert set(labels[:1000]) == set(range(1000))
    assert draw_from_real_labels(2500, 7) == subset
    assert draw_from_real_labels(100, 7).items == subset.items[:100]
    assert draw_from_real_labels(100, 8).items != subset.items[:100]
    assert "900 classes have no image" in draw_from_real_labels(100, 7).notes[0]


def test_more_than_there_are(uneven: Path) -> None:
    with pytest.raises(UsageError, match="40000 images are asked for, and there are 39394"):
        draw_from_real_labels(40_000, 0)
    with pytest.raises(UsageError, match="16 images are asked for, and there are 15") as caught:
        draw(uneven, 16)
    assert caught.value.where == "--images"


@pytest.mark.parametrize("seed", range(3))
def test_every_class_has_one_before_any_has_two(uneven: Path, seed: int) -> None:
    for images, counts in ((5, [1] * 5), (9, [1, 2, 2, 2, 2]), (15, [1, 2, 3, 4, 5])):
        subset = draw(uneven, images, seed)
        found = Counter(item.label for item in subset.items)
        assert [found[label] for label in range(5)] == counts
    assert len({item.label for item in draw(uneven, 3, seed).items}) == 3


def test_the_content_decides_and_not_the_names(folder: Path, write: Write, tmp_path: Path) -> None:
    for name in "ab":
        for number in range(6):
            write(f"{name}/{number}.png", number + 10 * (name == "b"))
    before = [(folder / item.id).read_bytes() for item in draw(folder, 5).items]
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(f"x{9 - int(path.stem)}.png"))
    assert [(folder / item.id).read_bytes() for item in draw(folder, 5).items] == before


def test_broken_images_and_copies(folder: Path, write: Write) -> None:
    for number in range(4):
        write(f"a/{number}.png", number)
    write("a/copy.png", 0)
    write("a/broken.png", b"text")
    with pytest.raises(BrokenImage):
        draw(folder, 5)
    notes = set()
    for seed in range(8):
        subset = draw(folder, 4, seed, if_broken="skip")
        assert sorted(item.id for item in subset.items) == [f"a/{n}.png" for n in range(4)]
        notes.update(subset.notes)
    # Only what is drawn is decoded, so with some seeds the broken one is never looked at.
    assert any("broken images, left out: 1" in note for note in notes)
    assert any("same content as another, left out: 1" in note for note in notes)
    with pytest.raises(UsageError, match="there are 4"):
        draw(folder, 5, if_broken="skip")


def test_what_is_written_is_read_back(uneven: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "subset.txt"
    subset = make_subset(output, "folder", uneven, 7, 3, tmp_path, Silent())
    lines = read_manifest(output, "folder", open_folder(uneven).listing())
    assert [line.item for line in lines] == list(subset.items)
    head = output.read_text().splitlines()[:4]
    assert head[0] == "# 7 images of 5 classes, drawn by"
    assert head[1] == "#   pipeline subset --dataset folder --images 7 --seed 3"
    assert "the 15 images of folder, ranked by content" in head[2]
    assert str(tmp_path) not in output.read_text()
    assert [path.name for path in output.parent.iterdir()] == ["subset.txt"]


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_any_name_is_read_back_or_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("names") / "m.txt"
    items = tuple(Item(name, place) for place, name in enumerate(names))
    try:
        write_manifest(path, Subset(items, "a test", ()), "pipeline subset")
    except UsageError:
        assert not path.exists()
        return
    assert [line.item for line in read_manifest(path, "test", list(items))] == list(items)


@pytest.mark.parametrize("name", [" a", "a ", "#a", "a\nb", "a\tb", "a\u2028b", ""])
def test_names_that_no_line_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no way to write the name"):
        write_manifest(tmp_path / "m", Subset((Item(name, 0),), "a test", ()), "x")


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ReaL labels for digits"):
        make_subset(tmp_path / "m", "digits", None, 1, 0, tmp_path, Silent(), labels="real")
    with pytest.raises(UsageError, match="unknown dataset"):
        make_subset(tmp_path / "m", "cifar", None, 1, 0, tmp_path, Silent())
    with pytest.raises(MissingError):
        make_subset(tmp_path / "m", "folder", None, 1, 0, tmp_path, Silent())
    assert not (tmp_path / "m").exists()


def test_a_name_that_is_not_utf8(uneven: Path, write: Write, tmp_path: Path) -> None:
    write("cat/caf\udce9.jpg", 99)
    with pytest.raises(StageError, match="its name is not UTF-8"):
        make_subset(tmp_path / "m.txt", "folder", uneven, 2, 0, tmp_path, Silent())
