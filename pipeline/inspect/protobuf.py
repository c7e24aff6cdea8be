"""Walk the wire format of protobuf without building messages.

A parser that builds objects needs a hundred bytes for a message of two, so a file of a hundred
megabytes could fill any memory. Here nothing is kept but places; what a message holds is read
when somebody asks for it. Format: protobuf's "Encoding" document.
"""

from collections.abc import Iterator

from pipeline.inspect.content import Damaged

MAX_FIELDS = 1_000_000
"""Fields that are looked at in one file; Inception V4 as QDQ has 18 000."""

Span = tuple[int, int]
"""Start and end of a message, a text or a block of numbers in the file."""

_VARINT, _FIXED64, _BLOCK, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class Wire:
    """The file, and how much of it may still be looked at."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._left = MAX_FIELDS

    @property
    def whole(self) -> Span:
        return 0, len(self.content)

    def fields(self, span: Span) -> Iterator[tuple[int, int | Span]]:
        """The fields of a message, by number: a varint as it stands, anything else as its place.

        Raises Damaged where the bytes are no message, or are more than is looked at.
        """
        position, end = span
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise Damaged(f"it has more than {MAX_FIELDS} fields")
            key, position = self._varint(position, end)
            number, kind = key >> 3, key & 7
            if not 0 < number < 2**29:
                raise Damaged(f"no field can have the number {number} (byte {position})")
            if kind == _VARINT:
                value, position = self._varint(position, end)
                yield number, value
                continue
            if kind == _BLOCK:
                size, position = self._varint(position, end)
            elif kind in (_FIXED32, _FIXED64):
                size = 4 if kind == _FIXED32 else 8
            else:
                raise Damaged(f"a field is of the unknown kind {kind} (byte {position})")
            if size > end - position:
                raise Damaged(f"a field goes beyond its end (byte {position})")
            yield number, (position, position + size)
            position += size

    def varints(self, span: Span) -> list[int]:
        """A block of packed varints, signed."""
        position, end = span
        values = []
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise Damaged(f"it has more than {MAX_FIELDS} fields")
            value, position = self._varint(position, end)
            values.append(signed(value))
        return values

    def bytes_of(self, value: int | Span) -> bytes:
        """The content of a block."""
        start, end = block(value)
        return self.content[start:end]

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for index in range(_LONGEST_VARINT):
            if position >= end:
                raise Damaged(f"it ends in the middle of a number (byte {position})")
            byte = self.content[position]
            position += 1
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & (2**64 - 1), position
        raise Damaged(f"a number does not end (byte {position})")


def signed(value: int) -> int:
    """A varint as the int64 it stands for."""
    return value - 2**64 if value >= 2**63 else value


def number(value: int | Span) -> int:
    """A field that has to be a number."""
    if not isinstance(value, int):
        raise Damaged("a field holds a block where a number belongs")
    return signed(value)


def block(value: int | Span) -> Span:
    """A field that has to be a message, a text or a block of numbers."""
    if isinstance(value, int):
        raise Damaged("a field holds a number where a block belongs")
    return value
