"""The recipe's `model`: which one, and where its weights come from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.section import Count, Section

SourceName = Literal[
    "timm", "checkpoint", "mindcv", "digits", "onnx", "quantized-onnx", "tflite", "quantized-tflite"
]


class Model(Section):
    """Which model, and where its weights come from."""

    source: SourceName
    """`timm`: published weights by name. `checkpoint`: a local file for a timm architecture.
    `mindcv`: a `.ckpt` of MindCV's `inception_v4`.
    `digits`: the architecture trained here on scikit-learn's digits, for the demo and the tests.
    `onnx`, `tflite`: a float model file, which starts the chain at `export`. `quantized-onnx`: an
    ONNX file with QuantizeLinear and DequantizeLinear, which is taken apart into float Graph and Plan.
    `quantized-tflite`: an integer TFLite file, which is measured and handed over as it is."""
    name: Annotated[str, Field(min_length=1)]
    """timm's name of the model (`inception_v4.tf_in1k`) or of the architecture (`inception_v4`);
    for model files any name."""
    revision: str | None = None
    """Commit, tag or branch on the hub; the default is the repository's main branch."""
    weights: str | None = None
    """A local weights file instead of the hub's, relative to the recipe; `--weights` overrides it."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Expected digest of the weights file. Without it the digest seen first is recorded."""
    sha1: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """The same, for files whose makers published no better one; of model files only."""
    published: "PublishedTop1 | None" = None
    """What the model's makers measured. It is held where weights, preprocessing and images are
    theirs, and else said to be SKIPPED; timm's own figures need not be written here."""
    num_classes: Count | None = None
    """Number of classes; the default is the model's own."""
    label_offset: Annotated[int, Field(ge=0, le=1)] = 0
    """1 for models of 1001 classes, whose class 0 is the background."""
    options: "TrainOptions | None" = None
    """How the `digits` source trains; only for that source."""

    @property
    def comes_quantized(self) -> bool:
        """Whether there is nothing left to quantize."""
        return self.source in ("quantized-onnx", "quantized-tflite")

    @property
    def is_file(self) -> bool:
        """Whether it comes as a model file, which has no stage `weights`."""
        return self.source in ("onnx", "tflite") or self.comes_quantized

    @model_validator(mode="after")
    def _sha1_is_of_a_model_file(self) -> Self:
        if self.sha1 is not None and not self.is_file:
            raise ValueError("sha1 is for model files; give the sha256")
        return self

    @model_validator(mode="after")
    def _options_belong_to_digits(self) -> Self:
        if self.options is not None and self.source != "digits":
            raise ValueError(f"options are for source 'digits', not for {self.source!r}")
        return self


class PublishedTop1(Section):
    """A published accuracy."""

    top1: Annotated[float, Field(gt=0, lt=1)]
    """A fraction."""
    dataset: Literal["imagenet", "imagenetv2"]
    """What it was measured on: ImageNet's validation images, or ImageNetV2's."""
    reference: Annotated[str, Field(min_length=1)]
    """Where it stands."""


class TrainOptions(Section):
    """The short training of the `digits` source."""

    seed: int = 0
    """Of the weights that training begins with, and of the order of the images."""
    epochs: Count = 10
    """How often every image is seen."""
    batch: Annotated[int, Field(ge=2)] = 32
    """Images of a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak of the one-cycle schedule."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the target that is spread over all classes."""
    size: Annotated[int, Field(ge=75, le=299)] = 75
    """Height and width the 8x8 digits are enlarged to; 75 is the least Inception V4 takes."""
