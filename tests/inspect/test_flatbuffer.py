"""Flatbuffers, written by flatbuffers' own builder, and what is none."""

import struct

import flatbuffers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inspect import flatbuffer
from pipeline.inspect.content import Damaged
from pipeline.inspect.flatbuffer import Flatbuffer, Table


def sample(children: int = 2) -> bytes:
    """Fields: 0 a number, 1 a text, 2 tables of one number, 3 a list of numbers."""
    builder = flatbuffers.Builder(64)
    made = []
    for value in range(children):
        builder.StartObject(1)
        builder.PrependInt32Slot(0, value + 1, 0)
        made.append(builder.EndObject())
    builder.StartVector(4, children, 4)
    for offset in reversed(made):
        builder.PrependUOffsetTRelative(offset)
    tables = builder.EndVector()
    builder.StartVector(4, 2, 4)
    builder.PrependFloat32(0.25)
    builder.PrependFloat32(0.5)
    numbers = builder.EndVector()
    text = builder.CreateString("hello")
    builder.StartObject(4)
    builder.PrependInt32Slot(0, -7, 0)
    for slot, offset in ((1, text), (2, tables), (3, numbers)):
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TEST")
    return bytes(builder.Output())


def everything(content: bytes) -> tuple[object, ...]:
    root = Flatbuffer(content).root(b"TEST")
    return (
        root.number(0, "<i"),
        root.content(1, 100),
        [child.number(0, "<i") for child in root.tables(2, 1_000_000, "tables")],
        root.numbers(3, "f", 1_000_000, "numbers"),
    )


def test_all_kinds_of_fields() -> None:
    assert everything(sample()) == (-7, b"hello", [1, 2], (0.5, 0.25))
    root = Flatbuffer(sample()).root(b"TEST")
    assert (root.content(1, 3), root.length(1)) == (b"hel", 5)
    assert (root.number(9, "<i", 4), root.content(9, 5), root.table(9)) == (4, b"", None)
    assert (root.tables(9, 1, "x"), root.numbers(9, "f", 1, "x"), root.length(9)) == ([], (), 0)


def test_another_kind_of_file() -> None:
    for content in (b"", b"\x08\x00\x00\x00", sample().replace(b"TEST", b"TSET")):
        with pytest.raises(Damaged, match="it has no TEST where"):
            Flatbuffer(content).root(b"TEST")


def field_of(content: bytearray, field: int) -> int:
    """Where the offset of a field of the root lies."""
    root = struct.unpack_from("<I", content)[0]
    fields = root - struct.unpack_from("<i", content, root)[0]
    return int(root + struct.unpack_from("<H", content, fields + 4 + 2 * field)[0])


@pytest.mark.parametrize("value", [0xFFFFFFFF, 0x7FFFFFFF, 10_000])
@pytest.mark.parametrize("field", [1, 2, 3])
def test_offsets_and_lengths_beyond_the_end(field: int, value: int) -> None:
    content = bytearray(sample())
    place = field_of(content, field)
    target = place + struct.unpack_from("<I", content, place)[0]
    for where in (place, target) if field != 1 else (place,):
        changed = bytearray(content)
        struct.pack_into("<I", changed, where, value)
        with pytest.raises(Damaged, match="beyond its end"):
            everything(bytes(changed))


def test_a_root_that_is_nowhere_or_no_table() -> None:
    content = bytearray(sample())
    struct.pack_into("<I", content, 0, 2**31)
    with pytest.raises(Damaged, match="beyond its end"):
        everything(bytes(content))
    with pytest.raises(Damaged, match=r"no fields|beyond its end"):
        everything(b"\x08\0\0\0TEST" + b"\0" * 20)


def test_too_many_of_something(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Flatbuffer(sample(5)).root(b"TEST")
    with pytest.raises(Damaged, match="5 tables are more than"):
        root.tables(2, 4, "tables")
    with pytest.raises(Damaged, match="2 scales are more than"):
        root.numbers(3, "f", 1, "scales")
    monkeypatch.setattr(flatbuffer, "MAX_TABLES", 5)
    with pytest.raises(Damaged, match="more than 5 tables"):
        everything(sample(5))
    monkeypatch.setattr(flatbuffer, "MAX_TABLES", 6)
    assert len(everything(sample(5))) == 4
    monkeypatch.setattr(flatbuffer, "MAX_NUMBERS", 1)
    with pytest.raises(Damaged, match="more than 1 numbers"):
        everything(sample(5))


def test_parts_that_lie_over_one_another_come_to_an_end() -> None:
    """A thousand lists, all of them the same megabyte."""
    file = Flatbuffer(b"\0" * (1 << 20))

    def read_it_again_and_again() -> None:
        for _ in range(1_000):
            file.check(0, 1 << 20)

    with pytest.raises(Damaged, match="lie over one another"):
        read_it_again_and_again()


@given(st.data())
@settings(max_examples=200)
def test_any_changed_bytes(data: st.DataObject) -> None:
    content = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    said = ""
    try:
        everything(bytes(content[: data.draw(st.integers(0, len(content)))]))
        said = "read"
    except Damaged as error:
        said = str(error)
    assert said


def test_a_table_says_where_it_is_wrong() -> None:
    with pytest.raises(Damaged, match="byte 5"):
        Table(Flatbuffer(b"TEST"), 5)
