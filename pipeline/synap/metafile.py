"""The SyNAP conversion metafile: its closed field set as frozen types, and the text of one.

The fields and words are those of the toolkit (3.2.0, `meta.py`) and its manual; what the toolkit
would accept and get wrong is the matter of `metafile_rules.py`, which everything written here or
read by `metafile_read.py` goes through. `norm = (byte - means[c]) / scale`, in byte units.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

ModelFormat = Literal["onnx", "tflite"]
DataType = Literal["uint8", "int8", "int16", "float16"]
Scheme = Literal[
    "default", "asymmetric_affine", "dynamic_fixed_point", "perchannel_symmetric_affine"
]
PreprocessType = Literal[
    "", "none", "yuv444", "yuv420", "nv12", "nv21", "gray", "rgb", "bgra", "rgb888p", "rgb888p3",
    "float32",
]  # fmt: skip
Number = Annotated[float, Field(allow_inf_nan=False)]
Dimension = Annotated[int, Field(ge=1, lt=2**31)]
Shape = tuple[Dimension, ...]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of the metafile: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Preprocess(Section):
    """Conversion of the input on the NPU, from what a camera gives."""

    type: PreprocessType
    size: tuple[Dimension, Dimension] | None = None
    """Height and width of the incoming image."""
    crop: bool | None = None


class Input(Section):
    """One input of the network."""

    name: Text | None = None
    shape: Shape | None = None
    """With the batch, in the model's own layout."""
    means: tuple[Number, ...] | None = None
    """One per channel, in byte units."""
    scale: Number | None = None
    """One number for all channels, in byte units."""
    format: str | None = None
    """What the numbers mean: `rgb` or `bgr`, then attributes such as `keep_proportions=0`."""
    security: Literal["any", "secure", "non-secure"] | None = None
    preprocess: Preprocess | None = None
    custom: Any = None


class Output(Section):
    """One output of the network; ONNX outputs have to be in the model's order."""

    name: Text | None = None
    shape: Shape | None = None
    dequantize: bool | None = None
    format: str | None = None
    security: Literal["secure-if-input-secure", "any"] | None = None
    custom: Any = None


class Quantization(Section):
    """How the toolkit itself quantizes a float model."""

    data_type: DataType | dict[str, DataType] | None = None
    """One type, or a map from layers to types (mixed precision); the toolkit's default is uint8."""
    scheme: Scheme | None = None
    mode: Literal["standard", "full"] | None = None
    algorithm: Literal["standard", "kl_divergence", "moving_average"] | None = None
    options: dict[str, Any] | None = None
    dataset: tuple[str, ...] | None = None
    """A glob per input, relative to the metafile; the toolkit sorts what it finds."""


class Security(Section):
    """Encryption and signature of the model."""

    secure: bool | None = None
    file: Text | None = None
    """A YAML file with the four paths below, instead of them."""
    encryption_key: Text | None = None
    signature_key: Text | None = None
    model_certificate: Text | None = None
    vendor_certificate: Text | None = None


class Metafile(Section):
    """A whole metafile."""

    delegate: str | dict[str, str] | None = None
    """`npu`, `gpu`, `cpu` or `default`, with options after it; or a map from layers to these."""
    optimize: bool | None = None
    data_layout: Literal["default", "nchw", "nhwc"] | None = None
    input_format: str | None = None
    output_format: str | None = None
    dequantize_outputs: bool | None = None
    inputs: tuple[Input, ...] | None = None
    outputs: tuple[Output, ...] | None = None
    quantization: Quantization | None = None
    security: Security | None = None
    custom: Any = None

    @property
    def delegates(self) -> dict[str, str]:
        """The delegate of every pattern of layers, without its options."""
        given = self.delegate or "default"
        patterns = {"*": given} if isinstance(given, str) else given
        return {pattern: (text.split() or ["default"])[0] for pattern, text in patterns.items()}


def classifier_metafile(
    *,
    means: Sequence[float],
    scale: float,
    input_name: str | None = None,
    input_shape: Sequence[int] | None = None,
    output_name: str | None = None,
    output_shape: Sequence[int] | None = None,
    quantization: Quantization | None = None,
    delegate: Literal["npu", "gpu", "cpu", "default"] = "npu",
    input_format: str = "rgb",
    output_format: str = "confidence_array",
) -> Metafile:
    """The metafile of a model with one image input and one vector of scores.

    `means` (one per channel) and `scale` are in byte units. Name and shape of the input belong
    together; an already quantized TFLite needs neither. Without `quantization` the toolkit keeps
    the model's own types.
    """
    image = Input(
        name=input_name,
        shape=None if input_shape is None else tuple(input_shape),
        means=tuple(float(mean) for mean in means),
        scale=float(scale),
        format=input_format,
    )
    scores = Output(
        name=output_name,
        shape=None if output_shape is None else tuple(output_shape),
        format=output_format,
    )
    return Metafile(
        delegate=delegate, inputs=(image,), outputs=(scores,), quantization=quantization
    )


_PLAIN = re.compile(r"(?!(?:yes|no|on|off|true|false|null)$)[a-z]{2,}(?:_[a-z]+)*")


class _Dumper(yaml.SafeDumper):
    """Writes every text in quotes that is not a mere word: YAML 1.1 and 1.2, of which the toolkit
    reads the latter, do not agree on which bare texts are texts (`1e3`, `yes`, `0o7`)."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    style = None if _PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    flat = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)


def metafile_text(metafile: Metafile) -> str:
    """The YAML of a metafile, unchecked; `dump_metafile` is the one that checks."""
    plain = metafile.model_dump(mode="json", exclude_none=True)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=2**20)
