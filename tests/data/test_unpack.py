import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.unpack import BadArchive, Limits, unpack
from pipeline.errors import StageError
from pipeline.progress import Silent

FILES = {"top/a.txt": b"a", "top/deep/er/b.bin": os.urandom(100_000), "empty": b""}
LIMITS = Limits(files=10, bytes=1_000_000)
Members = list[tuple[tarfile.TarInfo, bytes]]


def entry(name: str, content: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def plain() -> Members:
    return [entry("top", type=tarfile.DIRTYPE, mode=0o000)] + [
        entry(name, content, mode=0o4777) for name, content in FILES.items()
    ]


def write_tar(
    path: Path, members: Members, mode: Any = "w:", format: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes] | None = None, attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.mkdir("top")
        for name, content in (FILES if files is None else files).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return path


def unpacked(archive: Path, limits: Limits = LIMITS) -> Path:
    target = archive.parent / "there" / "target"
    unpack(archive, target, limits, Silent())
    return target


def refuse(archive: Path, word: str = "this archive", limits: Limits = LIMITS) -> None:
    with pytest.raises(BadArchive, match=word) as caught:
        unpacked(archive, limits)
    assert caught.value.where == str(archive)
    assert list((archive.parent / "there").iterdir()) == []


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2"])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tars_whatever_they_are_called(tmp_path: Path, mode: str, format: int) -> None:
    target = unpacked(write_tar(tmp_path / "x.tar.gz", plain(), mode, format))
    assert contents(target) == FILES
    for path in target.rglob("*"):
        assert (
            not path.stat().st_mode & (stat.S_ISUID | stat.S_IWOTH | stat.S_IXOTH) or path.is_dir()
        )
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_zips(tmp_path: Path) -> None:
    assert contents(unpacked(write_zip(tmp_path / "x"))) == FILES


def test_long_names_and_those_of_other_languages(tmp_path: Path) -> None:
    name = "ä" * 100 + "/" + "b" * 200
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        archive = write_tar(tmp_path / f"{format}.tar", [entry(name, b"x")], "w:gz", format)
        target = tmp_path / str(format)
        assert unpack(archive, target, LIMITS, Silent()) == 1
        assert contents(target) == {name: b"x"}


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "a/../../x", "a/..", "..", "a\\b", "a\nb", "a" * 300, "a/" * 600 + "b"],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    refuse(write_tar(tmp_path / "x.tar", [*plain(), entry(name, b"x")]), "no plain path")
    if "\\" not in name:
        refuse(write_zip(tmp_path / "x.zip", {name: b"x"}), "no plain path")
    assert not (tmp_path / "x").exists() and not (tmp_path.parent / "x").exists()


@pytest.mark.parametrize(
    "type",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"],
)
def test_links_and_devices(tmp_path: Path, type: bytes) -> None:
    member = entry("link", type=type, linkname="/etc/passwd")
    refuse(write_tar(tmp_path / "x.tar", [*plain(), member]), "link, which is no plain file")


def test_a_file_behind_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    members = [entry("a", type=tarfile.SYMTYPE, linkname=str(outside)), entry("a/b", b"x")]
    refuse(write_tar(tmp_path / "x.tar", members))
    assert list(outside.iterdir()) == []


def test_links_in_zips(tmp_path: Path) -> None:
    refuse(write_zip(tmp_path / "x", attributes=stat.S_IFLNK | 0o777), "no plain file")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x")
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(start, content.find(b"a.txt") if start.endswith(b"\x02") else 0)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(start, at + 1)
    path.write_bytes(content)
    refuse(path, "encrypted")


@pytest.mark.parametrize("second", ["a", "A", "./a"])
def test_names_that_come_twice(tmp_path: Path, second: str) -> None:
    refuse(write_tar(tmp_path / "x", [entry("a", b"1"), entry(second, b"2")]), "twice")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), (".", "b")])
def test_names_that_are_a_file_and_a_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    refuse(
        write_tar(tmp_path / "x", [entry(name, b"x") for name in names]), "file's and a folder's"
    )


def test_too_many_files(tmp_path: Path) -> None:
    members = [entry(str(n), b"x") for n in range(11)]
    refuse(write_tar(tmp_path / "x.tar", members), "more than 10 members")
    refuse(write_zip(tmp_path / "x.zip", {str(n): b"x" for n in range(10)}), "more than 10 members")
    unpacked(write_tar(tmp_path / "y.tar", members[:10]))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "zip"])
def test_a_small_archive_of_much(tmp_path: Path, mode: str) -> None:
    bomb = bytes(30_000_000)
    path = tmp_path / "x"
    if mode == "zip":
        write_zip(path, {"a": bomb})
    else:
        write_tar(path, [entry("a", bomb)], mode)
    assert path.stat().st_size < 100_000
    refuse(path, "holds more than 1000000 bytes")


def test_much_behind_the_end(tmp_path: Path) -> None:
    import gzip

    content = write_tar(tmp_path / "y", plain()).read_bytes()
    (tmp_path / "x").write_bytes(gzip.compress(content + bytes(30_000_000)))
    refuse(tmp_path / "x", "holds more than 1000000 bytes")


def test_a_header_that_asks_for_gigabytes(tmp_path: Path) -> None:
    import gzip

    for type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("x")
        info.type, info.size = type, 6_000_000_000
        header = info.tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "x").write_bytes(gzip.compress(header + bytes(100_000)))
        refuse(tmp_path / "x", "header of many megabytes")


def test_a_sparse_file(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x").write_bytes(bytes(header) + bytes(1024))
    refuse(tmp_path / "x", "no plain file")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"<html>", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", bytes(512)]
)
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    refuse(tmp_path / "x")


@pytest.mark.parametrize("write", [
    lambda path: write_tar(path, plain()),
    lambda path: write_tar(path, plain(), "w:gz"),
    lambda path: write_tar(path, plain(), "w:bz2"),
    write_zip,
])  # fmt: skip
def test_cut_anywhere_it_is_refused(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    whole = write(tmp_path / "x").read_bytes()
    end = len(whole) if whole[:2] in (b"PK", b"\x1f\x8b", b"BZ") else len(whole.rstrip(b"\0"))
    for cut in sorted({*range(0, end, max(1, end // 40)), end - 1, 512, 1024, 1536}):
        (tmp_path / "x").write_bytes(whole[:cut])
        refuse(tmp_path / "x")


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x", plain())
    content = bytearray(path.read_bytes())
    content[content.index(b"empty")] ^= 1
    path.write_bytes(content)
    refuse(path, "breaks off")


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x", plain(), "w:gz")
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(8))
    refuse(path, "damaged")


def test_a_target_that_is_there_is_not_touched(tmp_path: Path) -> None:
    target = unpacked(write_tar(tmp_path / "x", plain()))
    with pytest.raises(FileExistsError):
        unpacked(write_tar(tmp_path / "y", [entry("other", b"x")]))
    assert contents(target) == FILES


def test_what_a_killed_run_left_is_no_part_of_it(tmp_path: Path) -> None:
    half = tmp_path / "there" / ".target.partial"
    half.mkdir(parents=True)
    (half / "old").write_text("old")
    target = unpacked(write_tar(tmp_path / "x", plain()))
    assert contents(target) == FILES and not half.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file")
    with pytest.raises(StageError, match="cannot be unpacked") as caught:
        unpacked(write_tar(tmp_path / "x", plain()))
    assert not isinstance(caught.value, BadArchive)
