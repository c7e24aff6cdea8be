"""Read the head of a model that the NPU compiler made: the `EBGX` container.

Layout from the public SyNAP runtime and driver, little-endian, every number 32 bits unsigned:

    header       magic "EBGX", endianness, version, security_type, and the lengths of security
                 info, metadata, VSI data, padding and code                              36 bytes
    security     of the length given
    metadata     hardware_type, network_name[64], compiler_id, compiler_version,
                 execution_mode, counts of inputs, outputs and memory areas              92 bytes,
                 then 20 bytes for every input, output and memory area

Of an encrypted model only the code is unreadable. Nobody here could run the licensed compiler, so
this reader was held only to files of the documented form.
"""

import struct
from dataclasses import dataclass

from pipeline.errors import StageError

MAGIC = b"EBGX"
OLD_MAGIC = b"VPMN"
VERSION = 1

_HEADER = struct.Struct("<4s8I")
_METADATA = struct.Struct("<I64s6I")
_AREA_BYTES = 20
_MAX_AREAS = 1024
"""The driver's own limit."""

CLAIMED_HARDWARE = {0xC1: "VS680", 0xC2: "VS640"}
"""Names of `hardware_type`, as an older public driver header gives them; a claim that no compiled
model was checked against. They agree with the PIDs in the toolkit's NPU build targets."""


@dataclass(frozen=True)
class Ebgx:
    """What an EBGX container says of itself. Lengths are in bytes."""

    secure: bool
    """Whether the code is encrypted and signed."""
    security_info_length: int
    metadata_length: int
    vsi_data_length: int
    padding_length: int
    code_length: int
    hardware_type: int
    """Which chip; see `CLAIMED_HARDWARE`."""
    network_name: str
    compiler_id: int
    compiler_version: int
    execution_mode: int
    input_count: int
    output_count: int
    area_count: int


def parse_ebgx(model: bytes, where: str = "") -> Ebgx:
    """Read and check the head of an NPU model. Raises `StageError` for anything else."""
    if model.startswith(OLD_MAGIC):
        raise StageError(
            "an NPU model of the old VPMN format, which the runtime does not load any more",
            where=where,
            hint="compile it again with a SyNAP toolkit of version 3",
        )
    if not model.startswith(MAGIC):
        raise StageError(f"not an NPU model: it starts with {model[:4]!r}, not 'EBGX'", where=where)
    if len(model) < _HEADER.size:
        raise StageError("an NPU model that is cut off in its header", where=where)
    _, endianness, version, security, *lengths = _HEADER.unpack_from(model)
    if endianness & 0xFF:
        raise StageError(
            f"an NPU model of byte order {endianness:#x}; 0, little-endian, is expected",
            where=where,
        )
    if version != VERSION:
        raise StageError(f"an EBGX model of version {version}; {VERSION} is known", where=where)
    if security not in (0, 1):
        raise StageError(f"an NPU model of unknown security type {security}", where=where)
    declared = _HEADER.size + sum(lengths)
    if declared > len(model):
        raise StageError(
            f"an NPU model that is cut off: {len(model)} bytes of the {declared} it declares",
            where=where,
        )
    security_info, metadata, vsi_data, padding, code = lengths
    if metadata < _METADATA.size:
        raise StageError(
            f"an NPU model whose metadata has {metadata} bytes, less than {_METADATA.size}",
            where=where,
        )
    fields = _METADATA.unpack_from(model, _HEADER.size + security_info)
    hardware, name, compiler, compiler_version, mode, inputs, outputs, areas = fields
    tables = inputs + outputs + areas
    if tables > _MAX_AREAS or _METADATA.size + _AREA_BYTES * tables > metadata:
        raise StageError(
            f"an NPU model whose metadata of {metadata} bytes cannot describe {inputs} inputs, "
            f"{outputs} outputs and {areas} memory areas",
            where=where,
        )
    if not code:
        raise StageError("an NPU model without code", where=where)
    return Ebgx(
        secure=security == 1,
        security_info_length=security_info,
        metadata_length=metadata,
        vsi_data_length=vsi_data,
        padding_length=padding,
        code_length=code,
        hardware_type=hardware,
        network_name=name.split(b"\0", 1)[0].decode("utf-8", errors="backslashreplace"),
        compiler_id=compiler,
        compiler_version=compiler_version,
        execution_mode=mode,
        input_count=inputs,
        output_count=outputs,
        area_count=areas,
    )
