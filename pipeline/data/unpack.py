"""Unpacking of archives that others made: nothing in one is believed.

Only regular files and folders are written, under the names they have if those are plain relative
paths, with permissions of our own; links, devices and whatever else are refused. Sizes are counted
while bytes arrive, not read from headers, and are bounded, as are the number of files and what is
held in memory.
"""

import bz2
import gzip
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from pipeline.errors import StageError
from pipeline.progress import Progress

_CHUNK = 1 << 20
_LARGEST_READ = 4 << 20
"""Bytes of a tar header's extension (a long name) that are read at once."""
_LONGEST_NAME = 1000
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_PACKED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast(IO[bytes], bz2.BZ2File(file)),
}
"""Compressions by their first bytes: names lie (ImageNetV2's `.tar.gz` is a plain tar)."""


class BadArchive(StageError):
    """What is in the archive, not the disk, keeps it from being unpacked."""


@dataclass(frozen=True)
class Limits:
    """More than this is refused, however it is packed."""

    files: int
    bytes: int


class _Member(NamedTuple):
    name: str
    folder: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, target: Path, limits: Limits, progress: Progress) -> int:
    """Unpack a tar (plain, gzip, bzip2) or zip into the new folder `target`; how many files.

    The folder appears when all of it is there. Raises BadArchive for what is no such archive, is
    damaged, is beyond the limits, or has a member that is refused; StageError where the disk does
    not take it; FileExistsError for a target that is there. The caller sees to it that no other run unpacks to it at the same time.
    """
    if target.exists():
        raise FileExistsError(target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        with _explained(archive):
            count = _write_all(archive, partial, limits, progress)
        partial.replace(target)
        return count
    except OSError as error:
        raise StageError(
            f"{archive.name} cannot be unpacked ({error.strerror or error})",
            where=str(target.parent),
            hint="make room or make the folder writable, and run again",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_all(archive: Path, folder: Path, limits: Limits, progress: Progress) -> int:
    seen: set[str] = set()
    written = files = 0
    size = archive.stat().st_size
    with (
        progress.bar(f"unpack {archive.name}", float(size)) as bar,
        closing(_members(archive, bar.advance, limits)) as members,
    ):
        for member in members:
            files += 1
            if files > limits.files:
                raise _refused(archive, f"has more than {limits.files} members")
            path = folder.joinpath(*_parts(archive, member.name))
            if member.folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            # Disks that ignore case would let one file take another's place.
            key = path.relative_to(folder).as_posix().casefold()
            if key in seen:
                raise _refused(archive, f"has {member.name} twice")
            seen.add(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, _created(path) as file:
                while chunk := source.read(_CHUNK):
                    written += len(chunk)
                    if written > limits.bytes:
                        raise _refused(archive, f"holds more than {limits.bytes} bytes")
                    file.write(chunk)
    if not seen:
        raise _refused(archive, "holds no file")
    return len(seen)


def _created(path: Path) -> IO[bytes]:
    """A new file, never what is there already."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb")


def _members(
    archive: Path, advance: Callable[[float], None], limits: Limits
) -> Generator[_Member, None, None]:
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(b"PK"):
            yield from _zip_members(archive, file, advance, limits)
            return
        packing = next((open for first, open in _PACKED.items() if start.startswith(first)), None)
        yield from _tar_members(archive, file, packing(file) if packing else file, advance, limits)


def _tar_members(
    archive: Path,
    file: IO[bytes],
    stream: IO[bytes],
    advance: Callable[[float], None],
    limits: Limits,
) -> Iterator[_Member]:
    bounded = _Bounded(stream, archive)
    before = 0
    with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as tar:
        while (entry := tar.next()) is not None:
            if entry.isdir():
                yield _Member(entry.name, True, _nothing)
            elif entry.isreg() and not entry.issparse():
                yield _Member(entry.name, False, _opener(tar, entry))
            else:
                raise _refused(archive, f"has {entry.name}, which is no plain file")
            advance(float(file.tell() - before))
            before = file.tell()
    # tarfile takes a damaged header, or none, for the end; a real end is a block of zeros.
    if not bounded.last or bounded.last.strip(b"\0"):
        raise _refused(archive, "is damaged: it breaks off")
    padding = 0
    while chunk := stream.read(_CHUNK):  # to the end, where the compression's checksum is
        padding += len(chunk)
        if padding > limits.bytes:
            raise _refused(archive, f"holds more than {limits.bytes} bytes")


def _opener(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        source = tar.extractfile(entry)
        assert source is not None  # of a regular file
        return source

    return open_member


def _zip_members(
    archive: Path, file: IO[bytes], advance: Callable[[float], None], limits: Limits
) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as packed:
        entries = packed.infolist()
        if len(entries) > limits.files:
            raise _refused(archive, f"has more than {limits.files} members")
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"has {entry.filename}, which is no plain file")
            if entry.flag_bits & 1:
                raise _refused(archive, f"has {entry.filename}, which is encrypted")
            yield _Member(entry.filename, entry.is_dir(), lambda entry=entry: packed.open(entry))  # type: ignore[misc]
            advance(float(entry.compress_size))


def _nothing() -> IO[bytes]:
    raise AssertionError("a folder is not opened")


class _Bounded:
    """A stream of which nobody reads much at once, so that a header cannot ask for gigabytes."""

    def __init__(self, stream: Any, archive: Path) -> None:
        self._stream = stream
        self._archive = archive
        self.last = b""
        """What was read last."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise _refused(self._archive, "has a header of many megabytes")
        self.last = self._stream.read(size)
        return self.last

    def seek(self, position: int) -> int:
        reached: int = self._stream.seek(position)
        return reached

    def tell(self) -> int:
        reached: int = self._stream.tell()
        return reached


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The folders and the name, if they are plain and stay below."""
    path = PurePosixPath(name)
    parts = tuple(part for part in path.parts if part != ".")
    odd = _ODD.search(name) or any(len(part.encode(errors="replace")) > 255 for part in parts)
    if path.is_absolute() or ".." in parts or odd or len(name) > _LONGEST_NAME:
        raise _refused(archive, f"has {name[:80]!r}, which is no plain path")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise _refused(archive, f"has {name[:80]!r}, which is no text") from None
    return parts


def _refused(archive: Path, reason: str) -> BadArchive:
    return BadArchive(
        f"this archive {reason}; nothing of it was kept",
        where=str(archive),
        hint="take the archive as it was published; a damaged one can be removed, and is then "
        "downloaded again",
    )


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except (
        # gzip.BadGzipFile is an OSError without a number, unlike what the system says of the disk.
        *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error),
        *(EOFError, ValueError, struct.error, RecursionError, NotImplementedError),
        *(OverflowError, IndexError, KeyError, RuntimeError),
    ) as error:
        reason = str(error) or type(error).__name__
        raise _refused(archive, f"is damaged or of an unknown kind ({reason})") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, "has a name that is a file's and a folder's") from error
    except OSError as error:
        if error.errno is None:  # of the readers of bzip2
            raise _refused(archive, f"is damaged ({error})") from error
        raise
