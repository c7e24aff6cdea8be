import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.dataset import BrokenImage, Item
from pipeline.data.imagenet import Imagenet, open_imagenet
from pipeline.data.timm_lists import imagenet_synsets
from pipeline.errors import Missing, MissingError, StageError
from pipeline.sources.torchvision_ops import make_torchvision_importable

TENCH, GOLDFISH, WHITE_SHARK = "n01440764", "n01443537", "n01484850"
LAST = "n15075141"
Write = Callable[[str, bytes | int], Path]


def missing(folder: Path | None) -> Missing:
    with pytest.raises(MissingError) as caught:
        open_imagenet(folder)
    (only,) = caught.value.missing
    return only


def test_labels_are_timms() -> None:
    make_torchvision_importable()
    from timm.data.imagenet_info import ImageNetInfo

    names = imagenet_synsets()
    assert list(names.values()) == list(range(1000))
    assert list(names) == ImageNetInfo().label_names()


def test_labels_need_no_import_of_timm() -> None:
    code = (
        "import sys\n"
        "from pipeline.data.timm_lists import imagenet_synsets as s\n"
        f"assert s()['{WHITE_SHARK}'] == 2\n"
        "assert not {'timm', 'torch', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_timm_it_says_what_to_do() -> None:
    """-S: an interpreter without any installed package."""
    code = (
        "from pipeline.data.timm_lists import imagenet_synsets\n"
        "from pipeline.errors import MissingError\n"
        "try: imagenet_synsets()\n"
        "except MissingError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "timm" in done.stdout and "make setup" in done.stdout, done.stderr


def test_folders_by_class_and_files_by_prefix_at_any_depth(folder: Path, write: Write) -> None:
    write(f"{TENCH}/a.JPEG", 1)
    write(f"val/{GOLDFISH}/ILSVRC2012_val_00000293.jpeg", 2)
    write(f"train/{WHITE_SHARK}/{WHITE_SHARK}_10.JPG", 3)
    write(f"{WHITE_SHARK}/deeper/still/b.png", 4)
    write(f"{LAST}_toilet_tissue.JPEG", 5)
    write(f"somewhere/{GOLDFISH}_x.PNG", 6)
    dataset = open_imagenet(folder)
    assert dataset.listing() == [
        Item(f"{TENCH}/a.JPEG", 0),
        Item(f"{WHITE_SHARK}/deeper/still/b.png", 2),
        Item(f"{LAST}_toilet_tissue.JPEG", 999),
        Item(f"somewhere/{GOLDFISH}_x.PNG", 1),
        Item(f"train/{WHITE_SHARK}/{WHITE_SHARK}_10.JPG", 2),
        Item(f"val/{GOLDFISH}/ILSVRC2012_val_00000293.jpeg", 1),
    ]
    assert dataset.notes() == ()
    assert dataset.class_count == 1000


def test_unknown_classes_are_counted_and_named(folder: Path, write: Write) -> None:
    write(f"{TENCH}/a.JPEG", 1)
    write("n99999999/b.JPEG", 2)
    write("n99999999/c.JPEG", 3)
    write("holiday/d.jpg", 4)
    write("stray.png", 5)
    dataset = open_imagenet(folder)
    assert [item.id for item in dataset.listing()] == [f"{TENCH}/a.JPEG"]
    (note,) = dataset.notes()
    assert "4 images of no ImageNet class were left out, from 3 folders" in note
    assert ". (1), holiday (1), n99999999 (2)" in note


def test_what_is_no_image_file_is_passed_over(folder: Path, write: Write) -> None:
    write(f"{TENCH}/a.JPEG", 1)
    write(f"{TENCH}/._a.JPEG", b"resource fork")
    write(f"{TENCH}/list.txt", b"a.JPEG\n")
    write(f".cache/{TENCH}/a.JPEG", 2)
    dataset = open_imagenet(folder)
    assert dataset.listing() == [Item(f"{TENCH}/a.JPEG", 0)]
    assert dataset.notes() == ()


def test_folder_and_name_that_disagree_are_an_error(folder: Path, write: Write) -> None:
    path = write(f"{TENCH}/{GOLDFISH}_1.JPEG", 1)
    with pytest.raises(StageError) as caught:
        open_imagenet(folder).listing()
    assert caught.value.where == str(path)
    assert TENCH in caught.value.what and GOLDFISH in caught.value.what


def test_links_are_followed_but_not_in_circles(
    tmp_path: Path, folder: Path, write: Write, make_picture: Callable[..., object]
) -> None:
    original = write(f"{TENCH}/a.JPEG", 1)
    (folder / TENCH / "up").symlink_to(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.JPEG").symlink_to(original)
    (folder / GOLDFISH).symlink_to(elsewhere)
    given = tmp_path / "given"
    given.symlink_to(folder)
    dataset = open_imagenet(given)
    assert dataset.listing() == [Item(f"{TENCH}/a.JPEG", 0), Item(f"{GOLDFISH}/b.JPEG", 1)]
    assert dataset.content(f"{GOLDFISH}/b.JPEG") == original.read_bytes()


def test_a_link_that_leads_nowhere_and_a_pipe_are_broken_images(folder: Path, write: Write) -> None:
    write(f"{TENCH}/a.JPEG", 1)
    (folder / TENCH / "gone.JPEG").symlink_to(folder / "nothing")
    (folder / TENCH / "self.JPEG").symlink_to(folder / TENCH / "self.JPEG")
    os.mkfifo(folder / TENCH / "pipe.JPEG")
    dataset = open_imagenet(folder)
    names = [item.id for item in dataset.listing()]
    assert names == [f"{TENCH}/{name}.JPEG" for name in ("a", "gone", "pipe", "self")]
    dataset.fingerprint(names[0])
    for name in names[1:]:
        with pytest.raises(BrokenImage) as caught:
            dataset.fingerprint(name)
        assert caught.value.where == str(folder / name)


def test_content_and_image_are_the_files(folder: Path, write: Write) -> None:
    path = write(f"{TENCH}/a.png", 7)
    dataset = open_imagenet(folder)
    (item,) = dataset.listing()
    assert dataset.content(item.id) == path.read_bytes()
    assert dataset.image(item.id).size == (6, 5)
    file = dataset.fingerprint(item.id)
    assert (file.path, file.size) == (str(path), path.stat().st_size)
    path.unlink()
    for read in (dataset.content, dataset.image, dataset.fingerprint):
        with pytest.raises(BrokenImage, match="No such file") as caught:
            read(item.id)
        assert caught.value.where == str(path)


def test_a_broken_image_names_its_file(folder: Path, write: Write) -> None:
    path = write(f"{TENCH}/a.JPEG", b"text")
    with pytest.raises(BrokenImage) as caught:
        open_imagenet(folder).image(f"{TENCH}/a.JPEG")
    assert caught.value.where == str(path)


def test_no_folder() -> None:
    thing = missing(None)
    assert "no folder was given" in thing.what
    assert "DATA=" in thing.hint and "make demo" in thing.hint and TENCH in thing.hint


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert f"{tmp_path / 'x'} does not exist" in missing(tmp_path / "x").what


def test_an_archive_instead_of_a_folder(tmp_path: Path) -> None:
    archive = tmp_path / "ILSVRC2012_img_val.tar"
    archive.write_bytes(bytes(1024))
    thing = missing(archive)
    assert "is not a folder" in thing.what and "unpack" in thing.hint


def test_an_empty_folder(folder: Path) -> None:
    assert f"{folder} is empty" in missing(folder).what


def test_no_known_class_shows_what_is_there_and_what_is_expected(
    folder: Path, write: Write
) -> None:
    for place in range(7):
        write(f"cats{place}/x.JPEG", place)
    thing = missing(folder)
    assert "no image of a known class" in thing.what
    assert "cats0, cats1, cats2, cats3, cats4, …" in thing.what
    assert "7 names, 7 images below, such as cats0/x.JPEG" in thing.what
    assert "<synset>_*.JPEG" in thing.hint


def test_class_folders_without_images_are_missing_too(folder: Path) -> None:
    (folder / TENCH).mkdir()
    assert f"it holds {TENCH} (1 names, 0 images below)" in missing(folder).what


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that everyone may enter; while the test runs, root is not root."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o777)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            yield path
        finally:
            if user == 0:
                os.seteuid(0)


def test_a_locked_class_folder_is_an_error_and_not_left_out(unprivileged: Path) -> None:
    locked = unprivileged / TENCH
    locked.mkdir()
    locked.chmod(0)
    try:
        with pytest.raises(StageError, match="Permission denied") as caught:
            open_imagenet(unprivileged)
        assert caught.value.where.rstrip("/") == str(locked)
    finally:
        locked.chmod(0o700)


def test_a_locked_file_is_a_broken_image(unprivileged: Path) -> None:
    path = unprivileged / f"{TENCH}_a.JPEG"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(BrokenImage, match="Permission denied"):
        open_imagenet(unprivileged).content(path.name)


def test_order_is_that_of_ids_not_of_the_disk(folder: Path, write: Write) -> None:
    for place in np.random.default_rng(0).permutation(40):
        write(f"{TENCH}/{place}.png", int(place))
    ids = [item.id for item in Imagenet(folder).listing()]
    assert ids == sorted(ids) and len(ids) == 40


def test_a_name_that_is_not_utf8(folder: Path, write: Write) -> None:
    write(f"{TENCH}/caf\udce9.jpg", 1)
    with pytest.raises(StageError, match="its name is not UTF-8") as caught:
        open_imagenet(folder)
    assert caught.value.where.endswith(f"{TENCH}/caf\\udce9.jpg")
