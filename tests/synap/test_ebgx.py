"""The head of an NPU model, and files that have another."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.synap.ebgx import CLAIMED_HARDWARE, parse_ebgx


def container(
    *,
    magic: bytes = b"EBGX",
    endianness: int = 0,
    version: int = 1,
    security: int = 0,
    security_info: bytes = b"",
    counts: tuple[int, int, int] = (1, 2, 3),
    metadata_length: int | None = None,
    areas: int = 6,
    code: bytes = b"code",
) -> bytes:
    metadata = struct.pack("<I64s6I", 0xC1, b"network", 11, 12, 13, *counts) + b"\0" * 20 * areas
    length = len(metadata) if metadata_length is None else metadata_length
    lengths = (len(security_info), length, 5, 3, len(code))
    header = struct.pack("<4s8I", magic, endianness, version, security, *lengths)
    return header + security_info + metadata + b"v" * 5 + b"p" * 3 + code


def test_a_good_one() -> None:
    read = parse_ebgx(container(security=1, security_info=b"s" * 9))
    assert read.secure
    assert (read.security_info_length, read.metadata_length) == (9, 92 + 120)
    assert (read.vsi_data_length, read.padding_length, read.code_length) == (5, 3, 4)
    assert (read.hardware_type, read.network_name) == (0xC1, "network")
    assert (read.compiler_id, read.compiler_version, read.execution_mode) == (11, 12, 13)
    assert (read.input_count, read.output_count, read.area_count) == (1, 2, 3)
    assert CLAIMED_HARDWARE[read.hardware_type] == "VS680"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (container(magic=b"VPMN"), "old VPMN format"),
        (b"VPMN", "old VPMN format"),
        (b"", "not an NPU model"),
        (b"\x08\x07onnx", "not an NPU model"),
        (b"EBGX", "cut off in its header"),
        (container()[:35], "cut off in its header"),
        (container(endianness=1), "byte order 0x1"),
        (container(version=2), "version 2; 1 is known"),
        (container(security=2), "unknown security type 2"),
        (container()[:-1], r"cut off: \d+ bytes of the \d+"),
        (container(metadata_length=40), "metadata has 40 bytes"),
        (container(counts=(1, 2, 4)), "cannot describe 1 inputs, 2 outputs and 4"),
        (container(counts=(2**32 - 1, 1, 0)), "cannot describe"),
        (container(code=b""), "without code"),
    ],
)
def test_what_is_none(model: bytes, said: str) -> None:
    with pytest.raises(StageError, match=said):
        parse_ebgx(model, "model.nb")


def test_an_error_says_where() -> None:
    with pytest.raises(StageError, match="no") as caught:
        parse_ebgx(b"something", "a.synap: 0/model.nb")
    assert caught.value.where == "a.synap: 0/model.nb"


@given(st.binary(max_size=300).map(lambda tail: b"EBGX" + tail))
@settings(max_examples=200, deadline=None)
def test_bytes_from_anywhere(model: bytes) -> None:
    with pytest.raises(StageError, match=r"NPU model|EBGX model"):
        parse_ebgx(model)
