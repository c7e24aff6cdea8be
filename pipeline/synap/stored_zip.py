"""Read a zip whose entries are stored, trusting nothing in it.

A bundle is read on machines that did not make it, and the runtime checks neither names nor sums,
so this reader accepts the one form that the toolkit writes and refuses everything else:

1. the file ends with the end record, without a comment, and is below 2 GiB (no zip64);
2. the directory lies right before the end record, has as many entries as that says, and not more
   than `MAX_ENTRIES`;
3. an entry is stored: neither compressed (no zip bomb) nor encrypted;
4. its name is a relative path of plain parts, given once, and the same in both its headers;
5. entries lie apart from each other, before the directory (no overlapping bomb);
6. the CRC-32 of its bytes is the recorded one.

Layout after PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.errors import StageError

MAX_ARCHIVE = 2**31 - 1
MAX_ENTRIES = 1025
MAX_NAME = 255

_END = struct.Struct("<4s4H2IH")
_DIRECTORY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1
_STORED = 0


@dataclass(frozen=True)
class Entry:
    """One file of the archive: `size` bytes at `start`, of which `crc` is the CRC-32."""

    name: str
    start: int
    size: int
    crc: int


def is_safe_name(name: str) -> bool:
    """Whether a name is a relative path of plain parts, the same on every system (rule 4)."""
    if not name or len(name) > MAX_NAME or not name.isprintable() or set(name) & set('\\:*?"<>|'):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def read_directory(stream: BinaryIO, where: str) -> dict[str, Entry]:
    """The entries of an archive by name, in its order. Raises `StageError` for any other file."""
    size = stream.seek(0, 2)
    if size > MAX_ARCHIVE:  # rule 1
        raise StageError(f"{size} bytes are more than a bundle can have", where=where)
    start, length, count = _end_record(stream, size, where)
    stream.seek(start)
    directory = stream.read(length)
    entries: dict[str, Entry] = {}
    spans: list[tuple[int, int, str]] = []
    position = 0
    for _ in range(count):
        if position + _DIRECTORY.size > len(directory):
            raise StageError("its directory is cut short", where=where)
        head = _DIRECTORY.unpack_from(directory, position)
        magic, flags, method, crc = head[0], head[3], head[4], head[7]
        packed, full, name_length, offset = head[8], head[9], head[10], head[16]
        begin = position + _DIRECTORY.size
        raw = directory[begin : begin + name_length]
        name = raw.decode("utf-8", errors="backslashreplace")
        position += _DIRECTORY.size + name_length + head[11] + head[12]
        if magic != b"PK\x01\x02" or position > len(directory):
            raise StageError("its directory is damaged", where=where)
        if not is_safe_name(name):  # rule 4
            raise StageError(f"an entry has the unsafe name {name!r}", where=where)
        if name in entries:
            raise StageError(f"the entry {name!r} is there twice", where=where)
        if flags & _ENCRYPTED:  # rule 3
            raise StageError(f"the entry {name!r} is encrypted", where=where)
        if method != _STORED or packed != full:
            raise StageError(
                f"the entry {name!r} is compressed; a bundle's entries are stored", where=where
            )
        begin = _content_start(stream, offset, raw, start, where)
        spans.append((offset, begin + full, name))
        entries[name] = Entry(name, begin, full, crc)
    if position != len(directory):
        raise StageError("its directory has more entries than it says", where=where)
    _check_apart(spans, start, where)
    return entries


def read_entry(stream: BinaryIO, entry: Entry, where: str) -> bytes:
    """The bytes of one entry. Raises `StageError` if they are not the ones that were written."""
    stream.seek(entry.start)
    content = stream.read(entry.size)
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:  # rule 6
        raise StageError(
            f"the entry {entry.name!r} is damaged: its checksum is not the recorded one",
            where=where,
        )
    return content


def _end_record(stream: BinaryIO, size: int, where: str) -> tuple[int, int, int]:
    """Where the directory starts, its length, and how many entries it has."""
    stream.seek(max(0, size - _END.size))
    tail = stream.read(_END.size)
    if len(tail) < _END.size or not tail.startswith(b"PK\x05\x06"):
        raise StageError("not a bundle: it does not end as a zip does", where=where)
    _, disk, start_disk, here, count, length, start, comment = _END.unpack(tail)
    if disk or start_disk or here != count or comment:
        raise StageError("not a bundle: a zip of several parts or with a comment", where=where)
    if count > MAX_ENTRIES:  # rule 2
        raise StageError(f"{count} entries are more than a bundle can have", where=where)
    if start + length + _END.size != size:
        raise StageError("its directory is not where its end says: cut or joined", where=where)
    return start, length, count


def _content_start(stream: BinaryIO, offset: int, name: bytes, limit: int, where: str) -> int:
    """Where an entry's bytes start, after its local header."""
    stream.seek(min(offset, limit))
    header = stream.read(_LOCAL.size + len(name))
    if len(header) < _LOCAL.size + len(name) or not header.startswith(b"PK\x03\x04"):
        raise StageError(f"the header of the entry {name!r} is damaged", where=where)
    fields = _LOCAL.unpack_from(header)
    if fields[9] != len(name) or header[_LOCAL.size :] != name:
        raise StageError(f"the entry {name!r} has another name in its own header", where=where)
    return offset + _LOCAL.size + len(name) + int(fields[10])


def _check_apart(spans: list[tuple[int, int, str]], limit: int, where: str) -> None:
    """Rule 5: each entry ends before the next one starts, and the last before the directory."""
    ordered = sorted(spans)
    starts = [begin for begin, _, _ in ordered[1:]] + [limit]
    for (_, end, name), next_start in zip(ordered, starts, strict=False):
        if end > next_start:
            raise StageError(f"the entry {name!r} overlaps what follows it", where=where)
