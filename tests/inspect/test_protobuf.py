"""The wire format, beside protobuf itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from pipeline.inspect import protobuf
from pipeline.inspect.content import Damaged
from pipeline.inspect.protobuf import Wire, block, number


def read(content: bytes) -> list[tuple[int, object]]:
    wire = Wire(content)
    return list(wire.fields(wire.whole))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.text(max_size=9), st.binary())
def test_what_protobuf_writes(dims: list[int], name: str, raw: bytes) -> None:
    content = TensorProto(dims=dims, name=name, raw_data=raw).SerializeToString()
    wire = Wire(content)
    found = list(wire.fields(wire.whole))
    assert [number(value) for key, value in found if key == 1] == dims
    assert [wire.bytes_of(value) for key, value in found if key == 8] == [name.encode()]
    assert [wire.bytes_of(value) for key, value in found if key == 9] == [raw]


def test_packed_numbers() -> None:
    wire = Wire(TensorProto(int32_data=[1, -2, 300]).SerializeToString())
    [(key, value)] = wire.fields(wire.whole)
    assert key == 5
    assert wire.varints(block(value)) == [1, -2, 300]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80", "ends in the middle of a number"),
        (b"\x08", "ends in the middle of a number"),
        (b"\x08" + b"\xff" * 10, "does not end"),
        (b"\x0a\x05abc", "goes beyond its end"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "goes beyond its end"),
        (b"\x09abc", "goes beyond its end"),
        (b"\x0b\x0c", "unknown kind 3"),
        (b"\x00\x00", "no field can have the number 0"),
        (b"\xf8\xff\xff\xff\xff\xff\x01\x00", "no field can have the number"),
    ],
)
def test_what_is_no_message(content: bytes, said: str) -> None:
    with pytest.raises(Damaged, match=said):
        read(content)


def test_a_field_of_another_kind() -> None:
    with pytest.raises(Damaged, match="a block where a number"):
        number((0, 1))
    with pytest.raises(Damaged, match="a number where a block"):
        block(3)


def test_there_is_an_end_to_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 100)
    assert len(read(b"\x08\x00" * 100)) == 100
    with pytest.raises(Damaged, match="more than 100 fields"):
        read(b"\x08\x00" * 101)
    wire = Wire(b"\x01" * 101)
    with pytest.raises(Damaged, match="more than 100 fields"):
        wire.varints(wire.whole)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_bytes_from_anywhere(content: bytes) -> None:
    wire, places = Wire(content), []
    said = ""
    try:
        places = [value for _, value in wire.fields(wire.whole) if not isinstance(value, int)]
    except Damaged as error:
        said = str(error)
    assert said or all(0 <= start <= end <= len(content) for start, end in places)
