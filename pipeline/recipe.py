"""The recipe: one YAML file as frozen, typed values. Every option is documented under its field.

Words are the field's own, and SyNAP's own where SyNAP has them. Accuracies and drops are
fractions everywhere (0.005 is half a point). Reading the file, with lines and suggestions in its
errors, is `recipe_file.py`; `pipeline schema` publishes this module as JSON Schema.
"""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.data.preprocess import Preprocess

SCHEMA_VERSION = 1
FRACTION_LIMIT = 0.2

DatasetName = Literal["imagenet", "imagenetv2", "imagenette", "folder", "npy", "digits"]
SourceName = Literal["timm", "checkpoint", "digits", "onnx"]
DataType = Literal["uint8", "int8", "int16"]
LayerType = Literal["int16", "float16"]
Scheme = Literal["asymmetric_affine", "perchannel_symmetric_affine", "dynamic_fixed_point"]
RangeRule = Literal["minmax", "moving_average", "percentile", "mse", "entropy"]
PreprocessType = Literal[
    "none", "yuv444", "yuv420", "nv12", "nv21", "gray", "rgb", "bgra", "rgb888p", "rgb888p3",
    "float32",
]  # fmt: skip
Count = Annotated[int, Field(ge=1)]
Drop = Annotated[float, Field(ge=0.0)]

LEGAL_SCHEMES: dict[str, tuple[str, ...]] = {
    "uint8": ("asymmetric_affine",),
    "int8": ("asymmetric_affine", "perchannel_symmetric_affine", "dynamic_fixed_point"),
    "int16": ("dynamic_fixed_point",),
}
"""SyNAP's legal pairs (toolkit 3.2.0; the toolkit itself does not validate them)."""


class Section(BaseModel):
    """A part of the recipe: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Model(Section):
    """Which model, and where its weights come from."""

    source: SourceName
    """`timm`: published weights by name. `checkpoint`: a local file for a timm architecture.
    `digits`: the architecture trained here on scikit-learn's digits, for the demo and the tests.
    `onnx`: a float ONNX file, which starts the chain at `export`."""
    name: Annotated[str, Field(min_length=1)]
    """timm's name of the model (`inception_v4.tf_in1k`) or of the architecture (`inception_v4`);
    for `onnx` any name."""
    revision: str | None = None
    """Commit, tag or branch on the hub; the default is the repository's main branch."""
    weights: str | None = None
    """A local weights file instead of the hub's, relative to the recipe; `--weights` overrides it."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Expected digest of the weights file. Without it the digest seen first is recorded."""
    num_classes: Count | None = None
    """Number of classes; the default is the model's own."""
    label_offset: Annotated[int, Field(ge=0, le=1)] = 0
    """1 for models of 1001 classes, whose class 0 is the background."""
    options: "TrainOptions | None" = None
    """How the `digits` source trains; only for that source."""

    @model_validator(mode="after")
    def _options_belong_to_digits(self) -> Self:
        if self.options is not None and self.source != "digits":
            raise ValueError(f"options are for source 'digits', not for {self.source!r}")
        return self


class TrainOptions(Section):
    """The short training of the `digits` source."""

    seed: int = 0
    epochs: Count = 10
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak of the one-cycle schedule."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the target that is spread over all classes."""
    size: Annotated[int, Field(ge=75, le=299)] = 75
    """Height and width the 8x8 digits are enlarged to; 75 is the least Inception V4 takes."""


class Draw(Section):
    """One set of images, drawn from a dataset without looking at anything but their content."""

    dataset: DatasetName
    """`imagenet`: ILSVRC2012 as class folders, or its validation images with a ground truth.
    `imagenetv2`, `imagenette`: downloaded unless a folder is given. `folder`: class folders of any
    kind. `npy`: images.npy and labels.npy. `digits`: scikit-learn's."""
    images: Count | Literal["all"] = "all"
    """How many; `all` takes every image that no earlier set has taken."""
    at_least: Count = 1
    """Fewer usable images than this is an error. Between it and `images`, the run goes on with
    what there is and says so."""
    seed: int = 0
    """Images are ranked by sha256 of seed and content, within each class in turn."""
    manifest: str | None = None
    """A text file of `id label` lines to take instead of drawing, relative to the recipe."""

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        if self.images != "all" and self.at_least > self.images:
            raise ValueError(f"at_least {self.at_least} is more than images {self.images}")
        return self


class Data(Section):
    """The images. The three sets are disjoint by content, whatever the files are called."""

    preprocess: Preprocess | None = None
    """What the model sees; the default is the model's own, as its source declares it."""
    folder: str | None = None
    """Where the images are, relative to the recipe; `--data` overrides it."""
    calibration: Draw
    """Images whose activations choose the ranges."""
    selection: Draw | None = None
    """Images that rank candidate quantizations; never used to judge the result."""
    evaluation: Draw
    """Images that every stage is checked on."""
    broken_images: Literal["stop", "skip"] = "stop"
    """An image that cannot be decoded: stop with its name, or leave it out and count it."""
    uneven_classes: Literal["stop", "accept"] = "accept"
    """Where evaluation has classes without images, or ten times as many of one as of another: stop,
    or judge on what there is and say so."""


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


class Quantize(Section):
    """What the integers are."""

    data_type: DataType = "uint8"
    """SyNAP's word for the type of activations and weights."""
    scheme: Scheme = "asymmetric_affine"
    """`asymmetric_affine`: one scale per tensor, weights too. `perchannel_symmetric_affine`:
    a scale for every output channel of the weights, whose zero point is 0. `dynamic_fixed_point`:
    scales that are powers of two, zero points 0."""
    layers: dict[str, LayerType] = {}
    """Layers, by node name of the exported Graph, whose weights and result have another type:
    `int16` (powers of two, about 2 to 3 times as slow on the NPU) or `float16`. Such a model is
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
    errors cancel on the calibration images. `auto`: adaptive for depthwise convolutions, which gain
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


class NpuPreprocess(Section):
    """Conversion of the input on the NPU, from what a camera gives."""

    type: PreprocessType
    """What comes in: `rgb`, `nv12`, `gray` and others, in the toolkit's words."""
    size: tuple[Count, Count] | None = None
    """Height and width of the incoming image; the default is the model's own."""
    crop: bool | None = None
    """Whether the position of the part that is taken can be set at run time."""


class Compile(Section):
    """The hand-over to SyNAP."""

    delegate: Literal["npu", "cpu"] = "npu"
    """`npu` needs the toolkit. `cpu` packs the quantized ONNX for the runtime's CPU delegate."""
    handoff: Literal["tflite", "onnx"] = "tflite"
    """What the toolkit is given for the NPU. `tflite`: the integer model as it was measured, which
    is not quantized again. `onnx`: the float Graph with calibration images, which the toolkit
    quantizes by itself, so that what was measured only predicts the result."""
    preprocess: NpuPreprocess | None = None
    """Conversion on the NPU in front of the model; the default is none."""
    dequantize_outputs: bool | None = None
    """Whether the compiled model gives real scores instead of integers; the default is the toolkit's."""
    output_format: Annotated[str, Field(min_length=1)] = "confidence_array"
    """SyNAP's word for what the output's numbers mean."""
    metafile: str | None = None
    """A metafile of your own instead of the generated one, relative to the recipe. It is held
    against the same rules; a dataset in it has to be `calibration/*.png`."""
    toolkit: Literal["auto", "native", "container", "none"] = "auto"
    """Where to look for the toolkit: on the PATH, as a container image, or in both (`auto`)."""
    image: str = "ghcr.io/synaptics-synap/toolkit:3.2.0"
    """The container image; a digest (`…@sha256:…`) is accepted."""
    if_toolkit_missing: Literal["stop", "cpu"] = "stop"
    """Without a toolkit: stop before any long work, or fall back to the CPU delegate and say so."""


class Device(Section):
    """A board on which the compiled model is run and checked, over the system's OpenSSH."""

    host: Annotated[str, Field(min_length=1)]
    """Name, alias of the ssh configuration, or address."""
    target: Annotated[str, Field(min_length=1)]
    """Which chip it has; other targets' models are not run on it."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """Of its SSH server."""
    user: str = "root"
    """Whom to log in as."""
    identity: str | None = None
    """Private key, relative to the recipe; the default is ssh's own choice."""
    ssh_config: str | None = None
    """ssh's configuration file in place of the user's own, relative to the recipe."""
    command: str = "synap_cli_ic"
    """SyNAP's classification program on the board, by name or absolute path."""
    folder: str = "/tmp"
    """Folder on the board with room for the model and 64 images."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that one command on the board may take."""


class Thresholds(Section):
    """What a check demands. With any of the first four it is required, else only reported."""

    max_top1_drop: Drop | None = None
    """Largest loss of top-1 accuracy against the float reference, a fraction (0.005 is half a point)."""
    max_logit_error: Annotated[float, Field(gt=0)] | None = None
    """Largest absolute difference of a logit from the stage before."""
    min_top1: Annotated[float, Field(ge=0, le=1)] | None = None
    """Least top-1 accuracy, a fraction."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Largest median time of an inference on the board, in milliseconds; only for `compile`."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence of the statement about the drop."""
    accept: Literal["measured", "predicted"] = "measured"
    """Weakest evidence that suffices for PASS; `predicted` allows a stand-in for the NPU model."""

    @model_validator(mode="after")
    def _drop_is_a_fraction(self) -> Self:
        if self.max_top1_drop is not None and self.max_top1_drop > FRACTION_LIMIT:
            raise ValueError(
                f"max_top1_drop {self.max_top1_drop:g} would allow a loss of "
                f"{self.max_top1_drop * 100:g} points; drops are fractions, so half a point is 0.005"
            )
        return self

    @property
    def required(self) -> bool:
        """Whether the recipe demands anything of this check."""
        limits = (self.max_top1_drop, self.max_logit_error, self.min_top1, self.max_latency_ms)
        return any(limit is not None for limit in limits)


class Checks(Section):
    """Thresholds by stage."""

    weights: Thresholds = Thresholds()
    export: Thresholds = Thresholds()
    equalize: Thresholds = Thresholds()
    quantize: Thresholds = Thresholds()
    lower: Thresholds = Thresholds()
    compile: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _only_the_compiled_model_runs_on_a_board(self) -> Self:
        for name in type(self).model_fields:
            if name != "compile" and getattr(self, name).max_latency_ms is not None:
                raise ValueError(f"{name} is not run on a board; compile.max_latency_ms is")
        return self

    @model_validator(mode="after")
    def _drops_need_a_reference(self) -> Self:
        for name in ("weights", "export"):
            if getattr(self, name).max_top1_drop is not None:
                raise ValueError(
                    f"{name} has no max_top1_drop, because drops are measured against the exported "
                    "float model; bound export.max_logit_error, or weights.min_top1"
                )
        return self


class Recipe(Section):
    """A conversion, from weights to `.synap`."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this schema: 1."""
    model: Model
    data: Data
    equalize: Equalize | None = Equalize()
    """Leave it out for the defaults; `null` for no such stage."""
    quantize: Quantize = Quantize()
    compile: Compile = Compile()
    device: Device | None = None
    """A board to measure the compiled model on; without one it is judged by what can be run here."""
    checks: Checks = Checks()

    @model_validator(mode="after")
    def _onnx_declares_its_preprocessing(self) -> Self:
        if self.model.source == "onnx" and self.data.preprocess is None:
            raise ValueError("an ONNX file does not say what its input is; give data.preprocess")
        return self

    @model_validator(mode="after")
    def _auto_needs_selection_images(self) -> Self:
        if self.quantize.ranges == "auto" and self.data.selection is None:
            raise ValueError(
                "quantize.ranges: auto ranks candidates on data.selection, which is not given"
            )
        return self

    @model_validator(mode="after")
    def _tflite_can_be_handed_over(self) -> Self:
        reason = self.quantize.no_tflite_form
        if reason and (self.compile.delegate, self.compile.handoff) == ("npu", "tflite"):
            raise ValueError(f"compile.handoff: tflite is not possible, because {reason}; use onnx")
        return self

    @model_validator(mode="after")
    def _mixed_types_need_the_toolkit(self) -> Self:
        if self.quantize.layers and self.compile.delegate == "cpu":
            raise ValueError(
                "quantize.layers mixes types, which only the SyNAP toolkit can build; the CPU "
                "delegate has no such form (compile.delegate: npu, or only simulate with "
                "--until quantize)"
            )
        return self


def recipe_name(path: str) -> str:
    """The recipe's name: its file's name without the ending."""
    return PurePosixPath(path).stem
