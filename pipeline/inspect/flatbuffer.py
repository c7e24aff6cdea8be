"""Read a flatbuffer that nobody vouches for: every place is checked before it is read.

Offsets to children only lead forward, so there are no cycles; but many may lead to the same child,
so that a small file could describe an endless one. Hence what is read altogether is bounded by the
file's own size. Format: flatbuffers' "Internals" document.
"""

import struct

from pipeline.inspect.content import Damaged

MAX_TABLES = 400_000
"""Tables that are read of one file; Inception V4 as integers has some 2 000."""
MAX_NUMBERS = 2_000_000
"""Elements of lists of numbers that are read of one file."""
_REUSE = 8
"""How many times over a file may be read. Equal lists and vtables are shared in good files."""
_LEAST = 1 << 20
"""Bytes that may be read of any file."""


class Flatbuffer:
    """The file, and how much of it may still be read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._bytes = _REUSE * len(content) + _LEAST
        self._tables = MAX_TABLES
        self._numbers = MAX_NUMBERS

    def root(self, identifier: bytes) -> "Table":
        """The table that is the file's. Raises Damaged for a file of another kind."""
        if self.content[4:8] != identifier:
            raise Damaged(f"it has no {identifier.decode()} where that kind of file has it")
        return Table(self, self.integer(0, "<I"))

    def integer(self, position: int, form: str) -> int:
        """The number of this `struct` form at a place."""
        size = struct.calcsize(form)
        self.check(position, size)
        return int(struct.unpack_from(form, self.content, position)[0])

    def check(self, position: int, size: int) -> None:
        """Raise Damaged unless these bytes are there and may be read."""
        if position < 0 or size < 0 or position + size > len(self.content):
            raise Damaged(f"it points beyond its end (byte {position})")
        self._bytes -= size
        if self._bytes < 0:
            raise Damaged("its parts lie over one another")

    def count_table(self) -> None:
        """Raise Damaged where there were enough tables already."""
        self._tables -= 1
        if self._tables < 0:
            raise Damaged(f"it has more than {MAX_TABLES} tables")

    def count_numbers(self, count: int) -> None:
        """Raise Damaged where there were enough numbers already."""
        self._numbers -= count
        if self._numbers < 0:
            raise Damaged(f"it has more than {MAX_NUMBERS} numbers that describe tensors")


class Table:
    """One table of a flatbuffer; its fields are numbered by their schema, from 0 on."""

    def __init__(self, file: Flatbuffer, position: int) -> None:
        file.count_table()
        self._file, self._position = file, position
        self._fields = position - file.integer(position, "<i")
        self._length = file.integer(self._fields, "<H")
        if self._length < 4 or self._length % 2:
            raise Damaged(f"a table has no fields (byte {position})")
        file.check(self._fields, self._length)

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A number of this `struct` form."""
        place = self._place(field)
        return default if place is None else self._file.integer(place, form)

    def table(self, field: int) -> "Table | None":
        """A table inside this one."""
        place = self._place(field)
        return None if place is None else Table(self._file, self._target(place))

    def tables(self, field: int, limit: int, what: str) -> "list[Table]":
        """A list of tables; `what` names them in the error for more than `limit`."""
        start, count = self.vector(field, 4)
        if count > limit:
            raise Damaged(f"{count} {what} are more than any model has")
        return [Table(self._file, self._target(start + 4 * index)) for index in range(count)]

    def numbers(self, field: int, form: str, limit: int, what: str) -> tuple[int | float, ...]:
        """A list of numbers of this `struct` form (one letter)."""
        start, count = self.vector(field, struct.calcsize(f"<{form}"))
        if count > limit:
            raise Damaged(f"{count} {what} are more than any model has")
        self._file.count_numbers(count)
        return struct.unpack_from(f"<{count}{form}", self._file.content, start)

    def content(self, field: int, limit: int) -> bytes:
        """At most the first `limit` bytes of a text or a list of bytes."""
        place = self._place(field)
        if place is None:
            return b""
        start, count = self._vector(place)
        kept = min(count, limit)
        self._file.check(start, kept)
        return self._file.content[start : start + kept]

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Where the elements of a list begin, and how many there are, all of them in the file."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start, count = self._vector(place)
        self._file.check(start, count * width)
        return start, count

    def length(self, field: int) -> int:
        """How many bytes a list of bytes has. It lies in the file, but is not read."""
        place = self._place(field)
        if place is None:
            return 0
        start, count = self._vector(place)
        self._file.check(start + count, 0)
        return count

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._length:
            return None
        offset = self._file.integer(self._fields + entry, "<H")
        return self._position + offset if offset else None

    def _target(self, place: int) -> int:
        return place + self._file.integer(place, "<I")

    def _vector(self, place: int) -> tuple[int, int]:
        start = self._target(place)
        return start + 4, self._file.integer(start, "<I")
