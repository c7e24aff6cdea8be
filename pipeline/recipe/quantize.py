"""The recipe's `equalize` and `quantize`, in SyNAP's words."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.section import Section

DataType = Literal["uint8", "int8", "int16"]
LayerType = Literal["int16", "float16"]
Scheme = Literal["asymmetric_affine", "perchannel_symmetric_affine", "dynamic_fixed_point"]
RangeRule = Literal["minmax", "moving_average", "percentile", "mse", "entropy"]

LEGAL_SCHEMES: dict[str, tuple[str, ...]] = {
    "uint8": ("asymmetric_affine",),
    "int8": ("asymmetric_affine", "perchannel_symmetric_affine", "dynamic_fixed_point"),
    "int16": ("dynamic_fixed_point",),
}
"""SyNAP's legal pairs (toolkit 3.2.0; the toolkit itself does not validate them)."""


class Equalize(Section):
    """Float-preserving rewrites that make ranges easier to quantize."""

    dead_channels: bool = True
    """Remove channels from the weights that are always zero in calibration."""
    cross_layer: bool = True
    """Give the channels of neighbouring layers equal ranges."""
    high_bias: bool = True
    """Move the offset of activations that never come near zero into the layers behind."""
    max_calibration_error: Annotated[float, Field(gt=0)] = 0.01
    """Largest change of a logit on the calibration images, as a part of the largest logit; more is
    an error, because the rewrites are exact there but for rounding."""


class Ranges(Section):
    """How the range of an activation is chosen from what calibration saw."""

    rule: RangeRule = "mse"
    """`minmax`: everything that occurred. `moving_average`: of the images' bounds. `percentile`:
    both tails cut. `mse`: least squared error. `entropy`: least Kullback-Leibler divergence."""
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = 99.99
    """For `percentile`: the part, in percent, that stays inside at either end."""

    @model_validator(mode="after")
    def _percentile_is_for_its_rule(self) -> Self:
        if (
            self.rule != "percentile"
            and self.percentile != type(self).model_fields["percentile"].default
        ):
            raise ValueError(f"percentile is for rule percentile, not for {self.rule}")
        return self


class Quantize(Section):
    """What the integers are."""

    data_type: DataType = "uint8"
    """SyNAP's word for the type of activations and weights."""
    scheme: Scheme = "asymmetric_affine"
    """`asymmetric_affine`: one scale per tensor, weights too. `perchannel_symmetric_affine`:
    a scale for every output channel of the weights, whose zero point is 0. `dynamic_fixed_point`:
    scales that are powers of two, zero points 0."""
    layers: dict[str, LayerType] = Field(default_factory=dict)
    """Layers, by node name of the exported Graph, whose weights and result have another type:
    `int16` (powers of two, about 2 to 3 times as slow on the NPU, by SyNAP's documentation [not
    run]) or `float16`. Such a model is
    handed over as float ONNX with a metafile only."""
    ranges: Ranges | Literal["auto"] = "auto"
    """A rule, or `auto`: rules, equalized or not and bias corrections are tried on the selection
    images, and the best by logit SQNR is taken."""
    bias_correction: Literal["auto", "sequential", "fast", "none"] = "auto"
    """`sequential`: each layer's mean is put back with all earlier layers quantized. `fast`: from
    the float layers' mean inputs, in one pass. `auto`: tried as well where ranges are `auto`, else
    sequential."""
    weights: Literal["minmax", "mse"] = "mse"
    """How the scales of weights are chosen: all values covered, or least squared error."""
    rounding: Literal["auto", "nearest", "adaptive"] = "auto"
    """`nearest`: each weight by itself. `adaptive`: the weights of a filter together, so that their
    errors cancel on the first 32 calibration images. `auto`: adaptive for depthwise convolutions, which gain
    most and cost least."""

    @property
    def no_tflite_form(self) -> str | None:
        """Why a model of these types has no TFLite form as a whole; None where it has one."""
        if self.layers:
            return "layers with a type of their own exist only in the toolkit's own quantization"
        if self.data_type == "int16" or self.scheme == "dynamic_fixed_point":
            return (
                f"{self.data_type} with {self.scheme} is SyNAP's own form; TFLite's integer models "
                "are uint8 or int8 with affine scales"
            )
        return None

    @model_validator(mode="after")
    def _pair_is_legal(self) -> Self:
        legal = LEGAL_SCHEMES[self.data_type]
        if self.scheme not in legal:
            raise ValueError(
                f"SyNAP knows no {self.data_type} with {self.scheme}; "
                f"{self.data_type} goes with {' or '.join(legal)}"
            )
        repeated = [name for name, type in self.layers.items() if type == self.data_type]
        if repeated:
            raise ValueError(
                f"layer {repeated[0]} has the base type {self.data_type} again, which SyNAP's "
                "toolkit does not survive; leave it out"
            )
        return self
