"""What is found in a file, as frozen plain values that can be dumped as JSON.

Texts that came out of a file went through `printable.py`, so they can be shown anywhere.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FileFormat = Literal["synap", "onnx", "tflite", "metafile"]
ContentFormat = Literal["synap", "onnx", "tflite", "metafile", "npu"]
Fact = str | int | float | bool
SCHEMA = 1
"""Version of the JSON form."""


@dataclass(frozen=True)
class TensorFacts:
    """An input or output. What a file does not say is None or empty."""

    name: str
    shape: tuple[int | str, ...] | None = None
    """Free dimensions have their name, or `?`."""
    dtype: str | None = None
    """The type that is fed or read, in ONNX's and SyNAP's words (`float32`, `uint8`)."""
    layout: str | None = None
    """`nchw` or `nhwc`: as the file says, or as an image's three channels show."""
    scale: tuple[float, ...] = ()
    """Of the integers: `real = scale * (integer - zero_point)`. One value, or one for every index
    of `axis`."""
    zero_point: tuple[int, ...] = ()
    axis: int | None = None
    quantized_to: str | None = None
    """The integers that `scale` belongs to, where a float tensor passes through them."""
    means: tuple[float, ...] = ()
    """How an image becomes the tensor, in units of bytes:
    `(byte - means[c]) / deviations[c]`, where one value serves all channels."""
    deviations: tuple[float, ...] = ()
    meaning: str | None = None
    """SyNAP's `data_format`, such as `rgb` or `confidence_array`."""


@dataclass(frozen=True)
class QuantizationFacts:
    """Whether a model is made of integers, and of which."""

    kind: Literal["float", "quantized", "weights only"]
    """`weights only`: integers are stored, but computed with as floats."""
    form: str | None = None
    """How the file says it: `QDQ`, `QOperator`, `integer tensors`, `by the toolkit`."""
    data_type: str | None = None
    """Of activations; of weights in a float model. Several are joined by `+`."""
    scheme: str | None = None
    """SyNAP's word, or None where it has none for it."""
    tensors: int | None = None
    """How many tensors have scales of their own."""


@dataclass(frozen=True)
class Contents:
    """What a file, or a model inside a bundle, consists of."""

    format: ContentFormat
    facts: Mapping[str, Fact] = field(default_factory=dict)
    inputs: tuple[TensorFacts, ...] = ()
    outputs: tuple[TensorFacts, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    """How many there are of each kind, the most frequent first."""
    quantization: QuantizationFacts | None = None
    class_names: tuple[str, ...] = ()
    delegates: tuple[str, ...] = ()
    """Who runs it, of bundles (one for each subgraph) and metafiles."""
    target_hints: tuple[str, ...] = ()
    """What speaks for a chip; nothing in these files is proof of one."""
    subgraphs: "tuple[SubgraphFacts, ...]" = ()
    """Of a bundle, in order."""
    violations: tuple[str, ...] = ()
    """Of a metafile: every rule it breaks, in words, with its line."""
    warnings: tuple[str, ...] = ()
    """What will not work or not do what one may think, where the file itself is sound."""


@dataclass(frozen=True)
class SubgraphFacts:
    """One model of a bundle: what the bundle says of it, and what is really in it."""

    number: int
    delegate: str
    """`npu`, `cpu`, `gpu` or `tflite`."""
    engine: str
    """The meta's `delegate` in full, with its options."""
    entry: str
    """The model's file name in the bundle."""
    bytes: int
    sha256: str
    sources: tuple[str, ...]
    """Where each input comes from: `input 0` of the bundle, or `subgraph 0 output 1`."""
    secure: bool
    inputs: tuple[TensorFacts, ...]
    """As the meta describes them, which is what the runtime goes by."""
    outputs: tuple[TensorFacts, ...]
    model: Contents
    """The ONNX, TFLite or NPU model itself."""


@dataclass(frozen=True)
class Inspection:
    """A file that was inspected."""

    path: str
    bytes: int
    sha256: str
    contents: Contents

    @property
    def format(self) -> ContentFormat:
        return self.contents.format

    def to_json(self) -> dict[str, Any]:
        """JSON data; numbers that JSON has not (NaN, infinities) are null."""
        plain = asdict(self)
        contents = plain.pop("contents")
        data = {"schema": SCHEMA, "format": contents.pop("format"), **plain, **contents}
        return {key: _finite(value) for key, value in data.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
