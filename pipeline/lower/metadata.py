"""TFLite metadata: what the input is, how images become it, and the labels of the output.

They have two places in a file: a flatbuffer of their own (`metadata_schema.fbs`) in the buffer
`TFLITE_METADATA`, and behind the model a zip archive with the labels, which readers of the model
alone do not see. The fields of each table are numbered by the schema from 0 on.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENTRY = "TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"
"""The oldest version of the schema that has all of these fields."""
LABELS = "labels.txt"

RGB = 1
IMAGE_PROPERTIES = 2
NORMALIZATION_OPTIONS = 1
TENSOR_AXIS_LABELS = 2
"""The schema's numbers for what an enumeration or a union holds."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Files in the archive have no time of their own, so that equal models are equal files."""


@dataclass(frozen=True)
class Facts:
    """What is written; means and deviations are in units of bytes, by channel."""

    input: str
    output: str
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...] | None


def encode_metadata(facts: Facts) -> bytes:
    """The flatbuffer `ModelMetadata`."""
    import flatbuffers

    encoder = _Encoder(flatbuffers.Builder(1024))
    size = encoder.table({0: ("Uint32", facts.width), 1: ("Uint32", facts.height)})
    image = encoder.table({0: ("Uint8", RGB), 1: ("Offset", size)})
    content = encoder.table({0: ("Uint8", IMAGE_PROPERTIES), 1: ("Offset", image)})
    options = encoder.table(
        {0: ("Offset", encoder.floats(facts.mean)), 1: ("Offset", encoder.floats(facts.std))}
    )
    unit = encoder.table({0: ("Uint8", NORMALIZATION_OPTIONS), 1: ("Offset", options)})
    given = encoder.table(
        {
            0: ("Offset", encoder.text(facts.input)),
            3: ("Offset", content),
            4: ("Offset", encoder.tables([unit])),
        }
    )
    labels = []
    if facts.labels is not None:
        name = encoder.text(LABELS)
        labels.append(encoder.table({0: ("Offset", name), 2: ("Uint8", TENSOR_AXIS_LABELS)}))
    made = encoder.table(
        {0: ("Offset", encoder.text(facts.output)), 6: ("Offset", encoder.tables(labels))}
    )
    subgraph = encoder.table(
        {2: ("Offset", encoder.tables([given])), 3: ("Offset", encoder.tables([made]))}
    )
    root = encoder.table(
        {
            3: ("Offset", encoder.tables([subgraph])),
            7: ("Offset", encoder.text(PARSER_VERSION)),
        }
    )
    return encoder.finish(root)


class _Encoder:
    """Tables by field number, in flatbuffers' own terms: children before their parents."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def text(self, words: str) -> int:
        return int(self._builder.CreateString(words))

    def floats(self, numbers: Sequence[float]) -> int:
        self._builder.StartVector(4, len(numbers), 4)
        for number in reversed(numbers):
            self._builder.PrependFloat32(number)
        return int(self._builder.EndVector())

    def tables(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def table(self, fields: Mapping[int, tuple[str, int]]) -> int:
        self._builder.StartObject(max(fields) + 1)
        for slot, (kind, value) in fields.items():
            word = "UOffsetTRelative" if kind == "Offset" else kind
            getattr(self._builder, f"Prepend{word}Slot")(slot, value, 0)
        return int(self._builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, file_identifier=IDENTIFIER)
        return bytes(self._builder.Output())


def with_labels(model: bytes, labels: Sequence[str]) -> bytes:
    """A model with the archive of its labels behind it: a line each, uncompressed, because that is
    what readers of metadata expect."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        text = "".join(f"{label}\n" for label in labels)
        archive.writestr(zipfile.ZipInfo(LABELS, EPOCH), text.encode())
    return stream.getvalue()
