"""Read the table of the toolkit's own quantization, `quantization_info.yaml`, beside `model.synap`.

Known from Synaptics: that the toolkit writes it whenever it quantizes, as its quantizer ACUITY
saves it ("for reference only"), behind a line with the toolkit's version and a heading for each
subgraph (the toolkit's public sources, 3.2.0), so that the file as a whole is not YAML; that its
keys are `@`, a layer's id, `:` and a port such as `weight` (the public documentation, "Mixed
quantization"); and that a layer which has to stay float stands as `float32` under
`customized_quantize_layers` (the sources again).

Known only from third parties, who publish ACUITY's `.quantize` files and programs that read and
write them, of VeriSilicon's toolkit for other chips: the section `quantize_parameters`, the ports
`out0`, `weight` and `bias`, and the fields `qtype` (u8, i8, i16, i32), `quantizer`, `rounding`,
`max_value`, `min_value`, `scale`, `zero_point`, `fl` (a fractional length: scale `2**-fl`) and
`channel_dim`, with lists where there is a scale for every channel.

No table of a real SyNAP toolkit was at hand here.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import StageError
from pipeline.inspect.printable import printable
from pipeline.synap.plain_yaml import Plain, read_plain

FILE = "quantization_info.yaml"
MAX_BYTES = 64 << 20
MAX_VALUES = 2_000_000
"""Words in a table; Inception V4 with a scale for every channel has a fifth of a million."""
_DEPTH = 4
_TYPES = {
    "u8": "uint8", "i8": "int8", "i16": "int16", "u16": "uint16", "i32": "int32", "i64": "int64",
    "fp16": "float16", "f16": "float16", "fp32": "float32", "f32": "float32", "bf16": "bfloat16",
}  # fmt: skip
_FIRST_LINE = re.compile(r"Model converted with SyNAP toolkit (\S+)[ \t]*\r?\n")
_HEADING = re.compile(r"^={20,}\r?\nDetailed graph information for [^\n]*:\r?\n", re.M)
_LARGEST_ZERO_POINT = 1 << 31
_LARGEST_LENGTH = 1000
_WORD = 80
"""Letters of a name that are shown."""


@dataclass(frozen=True)
class TableEntry:
    """What the table says of one tensor. `scale` and `zero_point` have one value, or one for every
    channel; a tensor that stays float has none."""

    key: str
    layer: str
    """The toolkit's id of the layer, without its `@`."""
    port: str
    """`out0`, `weight`, `bias` or another."""
    data_type: str
    """SyNAP's word (`uint8`), or the table's own where it is none that is known."""
    quantizer: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    @property
    def is_float(self) -> bool:
        return "float" in self.data_type

    @property
    def is_per_channel(self) -> bool:
        return len(self.scale) > 1 or self.quantizer.startswith("perchannel")

    @property
    def numbers(self) -> tuple[str, tuple[float, ...], tuple[int, ...]]:
        """All that an integer's meaning depends on."""
        return self.data_type, self.scale, self.zero_point


@dataclass(frozen=True)
class QuantizationTable:
    """The table of one network."""

    version: str | None
    """The toolkit's, where the file says it."""
    entries: tuple[TableEntry, ...]
    layers: Mapping[str, str]
    """Types of layers' own, by layer id. After `kl_divergence` they may be suggestions only
    (VeriSilicon), but never `float32`."""


def read_quantization_table(path: Path) -> QuantizationTable:
    """Read a table. Raises StageError, with the line where there is one, if it is none."""
    where = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise StageError(f"cannot be read: {error.strerror}", where=where) from None
    if len(content) > MAX_BYTES:
        raise StageError(f"more than {MAX_BYTES >> 20} MiB, too much for a table", where=where)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise StageError("is not UTF-8 text", where=where) from None
    return parse_quantization_table(text, where)


def parse_quantization_table(text: str, where: str = FILE) -> QuantizationTable:
    """The table that `text` is. Raises StageError if it is none."""
    version, body = _without_headings(text, where)
    root = read_plain(body, where, depth=_DEPTH, scalars=MAX_VALUES)
    if not isinstance(root, dict):
        raise StageError("is not a table of tensors", where=where)
    parameters = root.get("quantize_parameters")
    if parameters is None:
        parameters = {key: value for key, value in root.items() if key.startswith("@")}
    if not isinstance(parameters, dict) or not parameters:
        raise StageError("has no quantize_parameters", where=where)
    entries = tuple(_entry(key, fields, where) for key, fields in parameters.items())
    own = root.get("customized_quantize_layers", {})
    layers = own if isinstance(own, dict) else {}
    return QuantizationTable(
        version,
        entries,
        {name.removeprefix("@"): word for name, word in layers.items() if isinstance(word, str)},
    )


def _without_headings(text: str, where: str) -> tuple[str | None, str]:
    """The version in the toolkit's first line, and the YAML behind its headings, at its lines."""
    first = _FIRST_LINE.match(text)
    headings = list(_HEADING.finditer(text))
    if len(headings) > 1:
        raise StageError(
            f"has the tables of {len(headings)} subgraphs, one was handed over", where=where
        )
    start = headings[0].end() if headings else first.end() if first else 0
    return (printable(first[1], _WORD) if first else None), "\n" * text.count(
        "\n", 0, start
    ) + text[start:]


def _entry(key: str, fields: Plain, where: str) -> TableEntry:
    place = f"{where}: {printable(key, _WORD)}"
    if not isinstance(fields, dict):
        raise StageError("has no fields", where=place)
    layer, _, port = key.removeprefix("@").rpartition(":")
    qtype = fields.get("qtype")
    if not isinstance(qtype, str):
        raise StageError("has no qtype", where=place)
    quantizer = fields.get("quantizer", "")
    entry = TableEntry(
        key=key,
        layer=layer,
        port=port,
        data_type=_TYPES.get(qtype, printable(qtype, _WORD)),
        quantizer=printable(quantizer, _WORD) if isinstance(quantizer, str) else "",
        scale=_scale(fields, place),
        zero_point=tuple(
            _whole(value, "zero_point", _LARGEST_ZERO_POINT, place)
            for value in _numbers(fields, "zero_point", place)
        ),
        minimum=_numbers(fields, "min_value", place),
        maximum=_numbers(fields, "max_value", place),
    )
    return _checked(entry, place)


def _checked(entry: TableEntry, place: str) -> TableEntry:
    """With a zero point for every scale: symmetric quantizers write none."""
    zero_point = entry.zero_point or (0,) * len(entry.scale)
    if entry.data_type in _TYPES.values() and not entry.is_float and not entry.scale:
        raise StageError(f"is {entry.data_type}, but has neither a scale nor fl", where=place)
    if len(zero_point) == 1 < len(entry.scale):
        zero_point *= len(entry.scale)
    if len(zero_point) != len(entry.scale):
        raise StageError(
            f"has {len(entry.scale)} scales and {len(zero_point)} zero points", where=place
        )
    if entry.is_float:
        return replace(entry, scale=(), zero_point=())
    return replace(entry, zero_point=zero_point)


def _scale(fields: "dict[str, Plain]", place: str) -> tuple[float, ...]:
    scales = _numbers(fields, "scale", place)
    if not scales:
        lengths = _numbers(fields, "fl", place)
        return tuple(2.0 ** -_whole(value, "fl", _LARGEST_LENGTH, place) for value in lengths)
    if not all(scale > 0 for scale in scales):
        raise StageError("has a scale that is not positive", where=place)
    return scales


def _numbers(fields: "dict[str, Plain]", name: str, place: str) -> tuple[float, ...]:
    """A number or a list of them as floats; none where the field is absent or null."""
    given = fields.get(name)
    if given is None or given in ("null", "~", ""):
        return ()
    values: list[float] = []
    for item in given if isinstance(given, list) else [given]:
        try:
            value = float(item) if isinstance(item, str) else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise StageError(f"its {name} is not a number", where=place)
        values.append(value)
    return tuple(values)


def _whole(value: float, name: str, largest: int, place: str) -> int:
    if value != int(value) or abs(value) > largest:
        raise StageError(f"its {name} {value:g} is not a whole number in reach", where=place)
    return int(value)
