"""The downloaded datasets, from archives made here, by a real server on loopback."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import imagenette, imagenetv2
from pipeline.data.archives import Archive, obtain
from pipeline.data.dataset import Item
from pipeline.data.datasets import dataset_missing, open_dataset
from pipeline.data.download import Remote
from pipeline.data.imagenette import open_imagenette
from pipeline.data.imagenetv2 import ImagenetV2, open_imagenetv2
from pipeline.data.unpack import BadArchive, Limits
from pipeline.errors import MissingError, StageError
from pipeline.progress import Silent

Serve = Callable[[bytes], Any]
Write = Callable[[str, bytes | int], Path]
LIMITS = Limits(files=20_000, bytes=10_000_000)


def tar(names: list[str], mode: Any = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as packed:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            packed.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


def archive(server: Any, published: bool = True, name: str = "x.tar.gz") -> Archive:
    sha256 = hashlib.sha256(server.content).hexdigest() if published else None
    size = len(server.content) if published else None
    return Archive(Remote(name, server.url, sha256, "a test", size), LIMITS)


def test_it_is_downloaded_and_unpacked_once(cache: Path, serve_file: Serve) -> None:
    server = serve_file(tar(["a/b.jpg"], "w:gz"))
    it = archive(server)
    folder, source = obtain(it, Silent())
    assert (folder / "a/b.jpg").read_text() == "a/b.jpg"
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert source == f"{server.url} (sha256 {sha256}, as published (a test))"
    assert not (cache / "x.tar.gz").exists()
    assert obtain(it, Silent()) == (folder, source)
    assert len(server.asked) == 1


def test_what_is_unpacked_serves_offline(
    cache: Path, serve_file: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = archive(serve_file(tar(["a"])))
    monkeypatch.setenv("PIPELINE_OFFLINE", "1")
    with pytest.raises(MissingError, match="PIPELINE_OFFLINE forbids"):
        obtain(it, Silent())
    monkeypatch.delenv("PIPELINE_OFFLINE")
    obtain(it, Silent())
    monkeypatch.setenv("PIPELINE_OFFLINE", "1")
    obtain(it, Silent())


def test_another_published_digest_is_another_folder(cache: Path, serve_file: Serve) -> None:
    server = serve_file(tar(["a"]))
    first, _ = obtain(archive(server), Silent())
    server.content = tar(["b"])
    second, _ = obtain(archive(server), Silent())
    assert first != second and (second / "b").is_file()


def test_the_digest_of_what_is_no_archive_is_not_recorded(cache: Path, serve_file: Serve) -> None:
    """A proxy's login page must not be what the next download is held to."""
    server = serve_file(b"<html>log in</html>")
    with pytest.raises(BadArchive):
        obtain(archive(server, published=False), Silent())
    server.content = tar(["a"])
    folder, source = obtain(archive(server, published=False), Silent())
    assert (folder / "a").is_file() and "recorded now, on first use" in source


@pytest.fixture(scope="module")
def v2() -> bytes:
    inner = imagenetv2.INNER
    return tar([f"{inner}/{label}/{n:02}.jpeg" for label in range(1000) for n in range(10)])


def test_imagenetv2(
    cache: Path, serve_file: Serve, v2: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address that is asked in earnest, but for the host and what is expected of it."""
    server = serve_file(v2)
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    real = imagenetv2.archive()
    sha256 = hashlib.sha256(v2).hexdigest()
    ours = replace(real, remote=replace(real.remote, sha256=sha256, size=len(v2)))
    monkeypatch.setattr(imagenetv2, "archive", lambda: ours)
    assert dataset_missing("imagenetv2", None) == []
    assert server.asked == []
    dataset = open_dataset("imagenetv2", None)
    path = "/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz"
    assert [asked.path for asked in server.asked] == [path]
    listing = dataset.listing()
    assert len(listing) == 10_000 and dataset.class_count == 1000
    assert listing == sorted(listing)
    assert all(item.label == int(item.id.split("/")[0]) for item in listing)
    assert Item("999/09.jpeg", 999) in listing
    (note,) = dataset.notes()
    assert server.address in note and sha256 in note
    Path(dataset.where("10/03.jpeg")).unlink()
    with pytest.raises(StageError, match="9999 images of ImageNetV2 instead of 10000"):
        open_dataset("imagenetv2", None)


def test_imagenetv2_from_a_mirror_with_other_bytes(
    cache: Path, serve_file: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve_file(b"other bytes")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    with pytest.raises(StageError, match="11 bytes, and not the published 1264079360"):
        open_dataset("imagenetv2", None)


def test_imagenetv2_in_a_folder(folder: Path, write: Write) -> None:
    write("0/a.jpeg", 1)
    write("10/b.jpeg", 2)
    write("1000/c.jpeg", 3)
    write("n01440764/d.jpeg", 4)
    write("e.jpeg", 5)
    dataset = open_imagenetv2(folder, Silent())
    assert dataset.listing() == [Item("0/a.jpeg", 0), Item("10/b.jpeg", 10)]
    (note,) = dataset.notes()
    assert "3 images" in note and "1000 (1), n01440764 (1)" in note
    write(f"{imagenetv2.INNER}/7/f.jpeg", 6)
    assert open_imagenetv2(folder, Silent()).listing() == [Item("7/f.jpeg", 7)]


def test_imagenetv2_labels_are_imagenets() -> None:
    from pipeline.data.class_names import class_names

    assert class_names("imagenetv2", 1000) == class_names("imagenet", 1000)
    assert ImagenetV2.class_count == 1000


def test_imagenette(cache: Path, serve_file: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"imagenette2-320/val/n01440764/n01440764_{n}.JPEG" for n in range(3924)]
    names += [
        "imagenette2-320/val/n03888257/ILSVRC2012_val_00000001.JPEG",
        "imagenette2-320/train/n03888257/ILSVRC2012_val_00000002.JPEG",
        "imagenette2-320/noisy_imagenette.csv",
    ]
    server = serve_file(tar(names, "w:gz"))
    ours = archive(server, name="imagenette2-320.tgz")
    monkeypatch.setattr(imagenette, "ARCHIVE", ours)
    dataset = open_dataset("imagenette", None)
    assert len(dataset.listing()) == 3925
    assert dataset.listing()[-1] == Item("n03888257/ILSVRC2012_val_00000001.JPEG", 701)
    source, seen = dataset.notes()
    assert server.url in source and "too high" in seen
    Path(dataset.where(dataset.listing()[0].id)).unlink()
    with pytest.raises(StageError, match="3924 images of Imagenette's val part"):
        open_dataset("imagenette", None)


@pytest.mark.parametrize("given", ["", "imagenette2-320", "imagenette2-320/val"])
def test_imagenette_in_a_folder(folder: Path, write: Write, given: str) -> None:
    write("imagenette2-320/val/n03888257/a.JPEG", 1)
    write("imagenette2-320/train/n03888257/b.JPEG", 2)
    dataset = open_imagenette(folder / given, Silent())
    assert dataset.listing() == [Item("n03888257/a.JPEG", 701)]
    assert dataset.name == "imagenette"


@pytest.mark.parametrize("name", ["imagenetv2", "imagenette"])
def test_folders_without_the_images(folder: Path, tmp_path: Path, write: Write, name: str) -> None:
    write("cats/a.JPEG", 1)
    with pytest.raises(MissingError, match="no image of a known class"):
        open_dataset(name, folder)
    (thing,) = dataset_missing(name, tmp_path / "absent")
    assert "does not exist" in thing.what
    assert dataset_missing(name, folder) == []


@pytest.mark.parametrize("name", ["imagenetv2", "imagenette"])
def test_offline_it_is_told_before_the_run(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (thing,) = dataset_missing(name, None)
    assert "HF_HUB_OFFLINE forbids downloads" in thing.what and "DATA=" in thing.hint
