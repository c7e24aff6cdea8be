"""The zip reader against zips that are not what they seem."""

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.synap.stored_zip import MAX_ENTRIES, is_safe_name, read_directory, read_entry

CONTENT = {"bundle.json": b"{}", "0/model.nb": b"model" * 50, "0/model.json": b"[]"}


def zipped(
    content: dict[str, bytes] = CONTENT, method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.comment = comment
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def unzip(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    entries = read_directory(stream, "x.synap")
    return {name: read_entry(stream, entry, "x.synap") for name, entry in entries.items()}


def refused(data: bytes, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        unzip(data)
    assert caught.value.where == "x.synap"


def test_a_plain_one_is_read() -> None:
    assert unzip(zipped()) == CONTENT
    assert unzip(zipped({})) == {}


def test_extra_fields_are_no_harm() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entry = zipfile.ZipInfo("a")
        entry.extra = struct.pack("<2H4s", 0x5455, 4, b"time")
        archive.writestr(entry, b"content")
    assert unzip(stream.getvalue()) == {"a": b"content"}


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all, but long enough", b"PK\5\6" * 9])
def test_rule_1_no_zip(data: bytes) -> None:
    refused(data, "not a bundle|is not where its end says")


def test_rule_1_comment_or_bytes_after_the_end() -> None:
    refused(zipped(comment=b"hello"), "does not end as a zip does")
    refused(zipped() + b"\0", "does not end as a zip does")


@pytest.mark.parametrize("offset", [-18, -16, -2])
def test_rule_1_a_disk_number_or_a_comment_that_is_not_there(offset: int) -> None:
    data = bytearray(zipped())
    data[offset] = 5
    refused(bytes(data), "a zip of several parts or with a comment")


def test_rule_1_bytes_before_the_start() -> None:
    refused(b"#!/bin/sh\n" + zipped(), "is not where its end says")


def test_rule_1_cut_short() -> None:
    data = zipped()
    for length in range(0, len(data), 7):
        with pytest.raises(StageError):
            unzip(data[:length])


def test_rule_2_more_entries_than_there_may_be() -> None:
    refused(zipped({str(n): b"" for n in range(MAX_ENTRIES + 1)}), "more than a bundle can have")


def test_rule_2_a_count_that_is_not_the_directorys() -> None:
    data = bytearray(zipped())
    data[-14:-10] = struct.pack("<2H", 2, 2)
    refused(bytes(data), "more entries than it says")
    data[-14:-10] = struct.pack("<2H", 4, 4)
    refused(bytes(data), "cut short")


def test_rule_3_compressed() -> None:
    refused(zipped({"0/bomb": b"\0" * 10_000_000}, zipfile.ZIP_DEFLATED), "is compressed")


def test_rule_3_encrypted() -> None:
    data = bytearray(zipped({"a": b"secret"}))
    flags = data.index(b"PK\1\2") + 8
    data[flags] |= 1
    refused(bytes(data), "'a' is encrypted")


@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "/a",
        "a/../../b",
        "a//b",
        "./a",
        "C:/a",
        "a\\b",
        "a\x07",
        "a/",
        "a\u202eb",
        "n" * 256,
    ],
)
def test_rule_4_unsafe_names(name: str) -> None:
    assert not is_safe_name(name)
    refused(zipped({name: b"1"}), "unsafe name")


@pytest.mark.parametrize("name", ["bundle.json", "0/model.nb", "12/a b.onnx", "0/ü.json", ".x/..y"])
def test_rule_4_plain_names(name: str) -> None:
    assert is_safe_name(name)
    assert unzip(zipped({name: b"1"})) == {name: b"1"}


def test_rule_4_a_name_that_ends_at_a_nul() -> None:
    refused(zipped({"abcde": b"1"}).replace(b"abcde", b"a\0cde"), "unsafe name")


def test_rule_4_twice() -> None:
    data = zipped({"aa": b"1", "bb": b"2"})
    refused(data.replace(b"bb", b"aa"), "is there twice")


def test_rule_4_another_name_in_its_own_header() -> None:
    data = bytearray(zipped({"abc": b"1"}))
    start = data.index(b"abc")
    data[start : start + 3] = b"xyz"
    refused(bytes(data), "another name in its own header|is damaged")


def test_rule_5_overlapping_entries() -> None:
    """Two directory entries that share the bytes of the first, as in overlapping zip bombs."""
    data = bytearray(zipped({"a": b"x" * 100, "b": b"y" * 100}))
    second = data.rindex(b"PK\1\2")
    data[second + 46 : second + 47] = b"a"
    struct.pack_into("<I", data, second + 42, 0)
    refused(bytes(data), "twice|overlaps")
    # With names of their own, in the one header they share, the names differ.
    data[second + 46 : second + 47] = b"b"
    refused(bytes(data), "another name in its own header")


def test_rule_5_an_entry_that_reaches_over_the_next() -> None:
    data = bytearray(zipped({"a": b"x" * 100, "b": b"y" * 100}))
    first = data.index(b"PK\1\2")
    struct.pack_into("<2I", data, first + 20, 150, 150)
    refused(bytes(data), "'a' overlaps")


@pytest.mark.parametrize("size", [2**20, 2**31, 2**32 - 1])
def test_rule_5_a_size_beyond_the_file(size: int) -> None:
    data = bytearray(zipped({"a": b"x"}))
    struct.pack_into("<2I", data, data.index(b"PK\1\2") + 20, size, size)
    refused(bytes(data), "'a' overlaps")


def test_rule_6_a_flipped_bit() -> None:
    data = zipped()
    refused(data.replace(b"modelmodel", b"modelmodem", 1), "'0/model.nb' is damaged: its checksum")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_change_of_bytes_does_more_than_an_error(data: st.DataObject) -> None:
    whole = bytearray(zipped())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = unzip(bytes(whole))
    except StageError:
        return
    assert list(read.values()) == list(CONTENT.values()), "content is never wrong, unseen"


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_from_anywhere(data: bytes) -> None:
    with pytest.raises(StageError):
        unzip(data)
