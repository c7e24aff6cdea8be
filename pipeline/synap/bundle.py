"""What a `.synap` bundle consists of, as frozen types.

A bundle is a zip with stored entries: `bundle.json` says which subgraphs there are and how they
are wired (`Node`, `Source`), and every subgraph has a model file and a JSON meta (`Meta`) that
describes its tensors. The field sets are those of SyNAP's runtime (`metadata.cpp`,
`bundle_parser.cpp`) and the toolkit (`bundler.py`), version 3.2.0. Fields the runtime ignores
(the NPU compiler writes some) are kept as they are. The runtime silently takes the first word of
an enumeration for one it does not know, so unknown words are errors here.

Reading is `bundle_read.py`, writing `bundle_write.py`, the meta of a CPU subgraph `cpu_meta.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

DataType = Literal[
    "byte", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32"
]
QuantizedType = DataType | Literal["u8", "i8", "u16", "i16"]
Layout = Literal["none", "nhwc", "nchw"]
Quantizer = Literal["none", "asymmetric_affine", "dynamic_fixed_point"]
Security = Literal["none", "any", "secure", "non-secure", "secure-if-input-secure"]
DelegateKind = Literal["npu", "cpu", "gpu", "tflite"]

BUNDLE_INPUT = -1
"""The `subgraph` number that stands for the bundle itself."""


def _as_sequence(value: Any) -> Any:
    # The runtime reads a bare number as a shape of one dimension. The tuple is for strict mode.
    if type(value) is int:
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Dimension = Annotated[int, Field(ge=1, lt=2**31)]
Shape = Annotated[tuple[Dimension, ...], BeforeValidator(_as_sequence)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
_Value = TypeVar("_Value")
Values = Annotated[tuple[_Value, ...], Field(min_length=1)]


class Part(BaseModel):
    """A JSON object of a bundle: frozen; keys the runtime does not know are kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", populate_by_name=True, use_attribute_docstrings=True
    )

    def to_json(self) -> str:
        """JSON spelled as the toolkit spells it (one space of indent, ASCII)."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(plain, indent=1, allow_nan=False)


class Quantize(Part):
    """How a tensor's integers map to reals. Of an array the runtime takes the first value."""

    qtype: QuantizedType | None = None
    scale: Number | Values[Number] | None = None
    zero_point: int | Values[int] | None = None
    fl: int | Values[int] | None = None
    """Fractional length of `dynamic_fixed_point`."""


class Tensor(Part):
    """An input or output of a subgraph. `mean` and `scale` are what the runtime applies to an
    image's bytes before it assigns them: `(byte - mean[c]) / scale`."""

    shape: Shape
    format: Layout | None = None
    dtype: DataType | None = None
    name: str | None = None
    data_format: str | None = None
    """What the numbers mean, such as `rgb` or `confidence_array`."""
    security: Security | None = None
    mean: tuple[Number, ...] | None = None
    """A list, one value per channel; a bare number makes the runtime's reader fail."""
    scale: Number | None = None
    quantizer: Quantizer | None = None
    quantize: Quantize | None = None


class Meta(Part):
    """A subgraph's description: tensors in order, by their id, and who runs it."""

    inputs: Annotated[dict[str, Tensor], Field(alias="Inputs", min_length=1)]
    outputs: Annotated[dict[str, Tensor], Field(alias="Outputs", min_length=1)]
    secure: bool = False
    delegate: str = "npu"
    """`npu`, `onnx cpu=1 `, `onnx gpu=1 `, `tflite gpu=0 `, with options after it."""

    @field_validator("delegate")
    @classmethod
    def _is_known(cls, delegate: str) -> str:
        if delegate_kind(delegate) is None:
            raise ValueError(f"unknown delegate {delegate!r}; known: npu, onnx, tflite")
        return delegate


class Source(Part):
    """Where a tensor comes from: output `out` of subgraph number `subgraph`, or, with
    `subgraph: -1`, the bundle's own input number `out`."""

    subgraph: Annotated[int, Field(ge=BUNDLE_INPUT, lt=2**31)]
    out: Annotated[Count, Field(validation_alias=AliasChoices("out", "in"))]


class Node(Part):
    """A subgraph in `bundle.json`: where its inputs come from, and its two entries."""

    inputs: tuple[Source, ...]
    model: str
    meta: str


class Graph(Part):
    """The whole of `bundle.json`."""

    graph: Annotated[tuple[Node, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Source, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Subgraph:
    """One model of a bundle with its meta."""

    model: bytes = field(repr=False)
    meta: Meta
    sources: tuple[Source, ...] = ()
    """Where each input comes from; left empty, input i is the bundle's input i."""
    name: str = ""
    """The model's file name in the bundle; left empty, the one the toolkit would give it."""

    @property
    def delegate(self) -> DelegateKind:
        """Who runs it."""
        kind = delegate_kind(self.meta.delegate)
        assert kind is not None, "Meta refuses any other"
        return kind

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(self.meta.inputs.values())

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(self.meta.outputs.values())

    @property
    def wiring(self) -> tuple[Source, ...]:
        """`sources`, with the default filled in."""
        return self.sources or tuple(
            Source(subgraph=BUNDLE_INPUT, out=number) for number in range(len(self.meta.inputs))
        )


@dataclass(frozen=True)
class Bundle:
    """A bundle whose wiring was checked."""

    subgraphs: tuple[Subgraph, ...]
    sinks: tuple[Source, ...]
    """Which tensor each of the bundle's outputs is."""

    @property
    def delegates(self) -> tuple[DelegateKind, ...]:
        """Who runs each subgraph, in order."""
        return tuple(subgraph.delegate for subgraph in self.subgraphs)

    @property
    def is_npu_build(self) -> bool:
        """Whether all of it runs on the NPU."""
        return set(self.delegates) == {"npu"}

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The bundle's own inputs, in order, each as its first reader describes it."""
        found: dict[int, Tensor] = {}
        for subgraph in self.subgraphs:
            for source, tensor in zip(subgraph.wiring, subgraph.inputs, strict=True):
                if source.subgraph == BUNDLE_INPUT:
                    found.setdefault(source.out, tensor)
        return tuple(found[number] for number in sorted(found))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The bundle's own outputs, in order."""
        return tuple(self.subgraphs[sink.subgraph].outputs[sink.out] for sink in self.sinks)


_ENGINES: Mapping[str, DelegateKind] = {"npu": "npu", "onnx": "cpu", "tflite": "tflite"}


def delegate_kind(delegate: str) -> DelegateKind | None:
    """Who a meta's `delegate` string means, or None for a word the runtime of these chips has not.

    The first word names the engine and options follow it (`format_parse` of the runtime).
    """
    words = delegate.split()
    kind = _ENGINES.get(words[0]) if words else None
    return "gpu" if kind == "cpu" and "gpu=1" in words else kind
