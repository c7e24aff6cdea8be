"""The toolkit's table as it is read. No real one was at hand: the form is what is documented."""

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.synap.quantization_table import (
    MAX_BYTES,
    parse_quantization_table,
    read_quantization_table,
)

HEADING = (
    "Model converted with SyNAP toolkit 3.2.0\n"
    + "=" * 100
    + "\nDetailed graph information for subgraph_0:\n"
)
TABLE = """\
customized_quantize_layers:
  Conv_conv7_3: float32
quantize_parameters:
  '@input_9:out0':
    qtype: u8
    quantizer: asymmetric_affine
    rounding: rtne
    max_value: 1.0
    min_value: -1
    scale: 7.843137718737125e-03
    zero_point: 128
  '@Conv_conv1_8:out0': {qtype: i16, quantizer: dynamic_fixed_point, fl: 9}
  '@Conv_conv1_8:weight':
    qtype: i8
    quantizer: perchannel_symmetric_affine
    scale:
    - 0.5
    - 1e-3
    channel_dim: 0
  '@Conv_conv1_8:bias': {qtype: i32, scale: [0.5, 0.25], zero_point: 0}
  '@Relu_relu1_7:out0': {qtype: float16, max_value: null}
  odd: {qtype: nf4, new_field: [1, 2]}
"""


@pytest.mark.parametrize("heading", [HEADING, HEADING.replace("\n", "\r\n"), ""])
def test_a_table(heading: str) -> None:
    table = parse_quantization_table(heading + TABLE)
    assert table.version == ("3.2.0" if heading else None)
    assert table.layers == {"Conv_conv7_3": "float32"}
    image, result, weight, bias, real, odd = table.entries
    assert (image.layer, image.port, image.data_type) == ("input_9", "out0", "uint8")
    assert (image.scale, image.zero_point) == ((0.007843137718737125,), (128,))
    assert (image.minimum, image.maximum) == ((-1.0,), (1.0,))
    assert (result.data_type, result.scale, result.zero_point) == ("int16", (2**-9,), (0,))
    assert (weight.scale, weight.zero_point, weight.is_per_channel) == ((0.5, 0.001), (0, 0), True)
    assert (bias.data_type, bias.zero_point) == ("int32", (0, 0))
    assert (real.is_float, real.scale) == (True, ())
    assert (odd.data_type, odd.layer, odd.scale) == ("nf4", "", ())


def test_entries_without_a_section() -> None:
    table = parse_quantization_table("version: 1\n'@a_1:out0': {qtype: u8, scale: 1}\n")
    assert [entry.key for entry in table.entries] == ["@a_1:out0"]


def entry(**fields: Any) -> str:
    return yaml.safe_dump({"quantize_parameters": {"@a_1:out0": fields}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no quantize_parameters"),
        ("quantize_parameters: {}", "has no quantize_parameters"),
        ("quantize_parameters: made up", "has no quantize_parameters"),
        ("[1, 2]", "not a table"),
        ("a: [", "not YAML"),
        (HEADING + "a: *x", "yaml:4: an alias"),
        (2 * (HEADING + TABLE), "the tables of 2 subgraphs"),
        ("quantize_parameters: {'@a': 1}", "@a: has no fields"),
        (entry(scale=1), "@a_1:out0: has no qtype"),
        (entry(qtype="u8"), "has neither a scale nor fl"),
        (entry(qtype="u8", scale=0), "not positive"),
        (entry(qtype="u8", scale=-1.5), "not positive"),
        (entry(qtype="u8", scale=math.nan), "its scale is not a number"),
        (entry(qtype="u8", scale=math.inf), "its scale is not a number"),
        (entry(qtype="u8", scale="1e999"), "its scale is not a number"),
        (entry(qtype="u8", scale="wide"), "its scale is not a number"),
        (entry(qtype="u8", scale=[[1]]), "nested too deeply"),
        (entry(qtype="u8", scale={"a": 1}), "its scale is not a number"),
        (entry(qtype="u8", scale=1, zero_point=0.5), "its zero_point 0.5 is not a whole number"),
        (entry(qtype="u8", scale=1, zero_point=1e300), "zero_point 1e"),
        (entry(qtype="u8", scale=1, zero_point=[0, 1]), "has 1 scales and 2 zero points"),
        (entry(qtype="i16", fl=5000), "its fl 5000 is not a whole number in reach"),
        (entry(qtype="i16", fl=-5000), "its fl -5000 is not a whole number in reach"),
    ],
)
def test_what_is_no_table(text: str, said: str) -> None:
    with pytest.raises(StageError, match=said):
        parse_quantization_table(text)


def test_a_name_cannot_drive_a_terminal() -> None:
    with pytest.raises(StageError) as caught:
        parse_quantization_table('quantize_parameters: {"@\\e[31mred": {}}')
    assert "\x1b" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "quantization_info.yaml"
    with pytest.raises(StageError, match="No such file"):
        read_quantization_table(path)
    path.write_text(HEADING + TABLE)
    assert len(read_quantization_table(path).entries) == 6
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(StageError, match="not UTF-8"):
        read_quantization_table(path)
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(StageError, match="64 MiB"):
        read_quantization_table(path)


Scales = st.floats(2.0**-126, 2.0**100, allow_nan=False)
Numbers = st.one_of(
    st.tuples(Scales, st.integers(-(2**31), 2**31)),
    st.lists(st.tuples(Scales, st.integers(0, 255)), min_size=2, max_size=5),
)


@given(st.dictionaries(st.from_regex(r"@[A-Za-z_/0-9]{1,20}:[a-z0-9]{1,6}", fullmatch=True), Numbers,
                       min_size=1, max_size=5))  # fmt: skip
def test_numbers_are_read_as_they_were_written(entries: dict[str, Any]) -> None:
    written = {}
    for key, given_numbers in entries.items():
        pairs = given_numbers if isinstance(given_numbers, list) else [given_numbers]
        scales, zeros = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        listed = isinstance(given_numbers, list)
        written[key] = {
            "qtype": "u8",
            "scale": scales if listed else scales[0],
            "zero_point": zeros if listed else zeros[0],
        }
    table = parse_quantization_table(HEADING + yaml.safe_dump({"quantize_parameters": written}))
    for found in table.entries:
        fields = written[found.key]
        listed = isinstance(fields["scale"], list)
        assert found.scale == tuple(fields["scale"] if listed else [fields["scale"]])
        assert found.zero_point == tuple(fields["zero_point"] if listed else [fields["zero_point"]])


Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = ("qtype", "quantizer", "scale", "zero_point", "fl", "max_value", "min_value")


@given(st.dictionaries(st.sampled_from(FIELDS), Anything), st.sampled_from(["u8", "i16", "?"]))
def test_strange_fields_are_read_or_refused(fields: dict[str, Any], qtype: str) -> None:
    fields.setdefault("qtype", qtype)
    with contextlib.suppress(StageError):
        parse_quantization_table(entry(**fields))


@given(st.binary(max_size=100), st.integers(0, len(HEADING + TABLE)))
def test_damaged_files_are_read_or_refused(damage: bytes, at: int) -> None:
    text = (HEADING + TABLE)[:at] + damage.decode("latin-1") + (HEADING + TABLE)[at + len(damage) :]
    with contextlib.suppress(StageError):
        parse_quantization_table(text)
