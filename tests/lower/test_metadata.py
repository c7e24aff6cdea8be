"""Metadata against the published schema, walked here field by field with flatbuffers alone."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.lower.metadata import Facts, encode_metadata, with_labels
from pipeline.lower.metadata_read import entries_of, normalization_in
from pipeline.lower.model_file import ModelFile, Quantization

FACTS = Facts("input", "logits", 224, 192, (127.0, 126.0, 125.5), (127.5, 60.0, 1.0), ("a", "b"))


class Walk:
    """A table of a flatbuffer by the number of its field, from the format's own definition:
    `soffset` to the vtable, then `uint16` offsets by field."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    def field(self, number: int) -> int:
        (back,) = struct.unpack_from("<i", self.data, self.place)
        table = self.place - back
        (size,) = struct.unpack_from("<H", self.data, table)
        if 4 + 2 * number >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self.data, table + 4 + 2 * number)
        return self.place + offset if offset else 0

    def follow(self, place: int) -> int:
        (forward,) = struct.unpack_from("<I", self.data, place)
        return place + forward

    def table(self, number: int) -> "Walk":
        return Walk(self.data, self.follow(self.field(number)))

    def tables(self, number: int) -> "list[Walk]":
        start = self.follow(self.field(number))
        (count,) = struct.unpack_from("<I", self.data, start)
        return [Walk(self.data, self.follow(start + 4 + 4 * i)) for i in range(count)]

    def text(self, number: int) -> str:
        start = self.follow(self.field(number))
        (count,) = struct.unpack_from("<I", self.data, start)
        return self.data[start + 4 : start + 4 + count].decode()

    def floats(self, number: int) -> list[float]:
        start = self.follow(self.field(number))
        (count,) = struct.unpack_from("<I", self.data, start)
        return list(struct.unpack_from(f"<{count}f", self.data, start + 4))

    def number(self, number: int, form: str) -> int:
        place = self.field(number)
        return struct.unpack_from(form, self.data, place)[0] if place else 0


def root(data: bytes) -> Walk:
    return Walk(data, struct.unpack_from("<I", data, 0)[0])


def test_every_field_stands_where_the_schema_has_it() -> None:
    """`metadata_schema.fbs` 1.0: ModelMetadata 3 subgraphs, 7 parser version; SubGraphMetadata 2
    inputs, 3 outputs; TensorMetadata 0 name, 3 content, 4 process units, 6 associated files; Content
    0 kind, 1 properties; ImageProperties 0 colours, 1 size; ProcessUnit 0 kind, 1 options;
    NormalizationOptions 0 mean, 1 std; AssociatedFile 0 name, 2 type."""
    data = encode_metadata(FACTS)
    assert data[4:8] == b"M001"
    model = root(data)
    assert model.text(7) == "1.0.0"
    [subgraph] = model.tables(3)
    [image], [scores] = subgraph.tables(2), subgraph.tables(3)
    assert (image.text(0), scores.text(0)) == ("input", "logits")
    content = image.table(3)
    assert content.number(0, "B") == 2  # ImageProperties
    properties = content.table(1)
    assert properties.number(0, "b") == 1  # RGB
    size = properties.table(1)
    assert (size.number(0, "<I"), size.number(1, "<I")) == (192, 224)
    [unit] = image.tables(4)
    assert unit.number(0, "B") == 1  # NormalizationOptions
    options = unit.table(1)
    assert (options.floats(0), options.floats(1)) == (list(FACTS.mean), list(FACTS.std))
    [file] = scores.tables(6)
    assert (file.text(0), file.number(2, "b")) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_without_labels_there_is_no_file() -> None:
    data = encode_metadata(Facts("i", "o", 8, 8, (0.0,) * 3, (1.0,) * 3, None))
    [subgraph] = root(data).tables(3)
    assert subgraph.tables(3)[0].tables(6) == []


def test_normalization_is_read_back() -> None:
    assert normalization_in(encode_metadata(FACTS), "m") == (list(FACTS.mean), list(FACTS.std))


def small_model(metadata: dict[str, bytes]) -> bytes:
    file = ModelFile()
    source = file.tensor("in", (1, 2), "uint8", Quantization((1.0,), (0,)))
    constant = file.constant("k", np.array([1], np.uint8), Quantization((1.0,), (0,)))
    result = file.tensor("out", (1, 2), "uint8", Quantization((1.0,), (0,)))
    file.operator("ADD", 1, [source, constant], result)
    return file.to_bytes([source], [result], "", metadata)


def test_labels_lie_behind_the_model(ops: Any) -> None:
    model = small_model({"m": b"1"})
    content = with_labels(model, ["tench, Tinca tinca", "größe"])
    assert content.startswith(model) and content == with_labels(
        model, ["tench, Tinca tinca", "größe"]
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
        assert archive.read("labels.txt").decode() == "tench, Tinca tinca\ngröße\n"
    assert entries_of(content) == {"m": b"1"}
    assert ops.run_tflite(content, {"in": np.array([[5, 6]])}).tolist() == [[6, 7]]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_metadata_are_said_to_be(data: st.DataObject) -> None:
    good = encode_metadata(FACTS)
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(bad[: data.draw(st.integers(0, len(bad)))])
    for damaged in (bytes(bad), cut):
        found: Any = None
        try:
            found = normalization_in(damaged, "x.tflite")
        except StageError as error:  # and nothing else
            found = error
        if isinstance(found, StageError):
            assert found.where == "x.tflite" and "metadata are damaged" in str(found)
        else:
            assert found is None or all(isinstance(numbers, list) for numbers in found)


def test_a_deviation_of_zero_is_damage() -> None:
    facts = Facts("i", "o", 8, 8, (0.0,) * 3, (1.0, 0.0, 1.0), None)
    with pytest.raises(StageError, match="a deviation is not positive"):
        normalization_in(encode_metadata(facts), "x.tflite")


def test_the_file_of_others(sample_data: Path) -> None:
    """Google's MobileNet V2, whose metadata the tools of TFLite Support wrote."""
    from pipeline.lower.metadata import ENTRY

    content = (sample_data / "mobilenet_v2_1.0_224_quant.tflite").read_bytes()
    entries = entries_of(content)
    assert normalization_in(entries[ENTRY], "m") == ([127.5], [127.5])
    [subgraph] = root(entries[ENTRY]).tables(3)
    assert subgraph.tables(3)[0].tables(6)[0].number(2, "b") == 2
