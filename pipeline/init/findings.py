"""What was found out about a model and the images for it: all that a recipe is written from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.data.preprocess import Preprocess
from pipeline.recipe import DatasetName

SourceWord = Literal[
    "timm", "checkpoint", "mindcv", "onnx", "quantized-onnx", "tflite", "quantized-tflite"
]
"""Words of `model.source`; which of them this version knows, the recipe's schema says."""

BACKGROUND_CLASSES = 1001
"""Outputs of TensorFlow's ImageNet models, whose first is a background class."""


@dataclass(frozen=True)
class View:
    """How images become the model's input, and how that is known."""

    preprocess: Preprocess
    origin: str
    """Who says so, in a sentence."""
    own: bool = False
    """Whether the source brings it by itself, so that the recipe need not repeat it."""
    guessed: tuple[str, ...] = ()
    """Fields that nobody said."""


@dataclass(frozen=True)
class ModelFindings:
    """A model that the pipeline can take."""

    source: SourceWord
    name: str
    """timm's name, or any for a file that needs none."""
    file: Path | None
    """Where its weights are; None for those that are published."""
    description: str
    """What it is, in a few words."""
    outputs: int
    """Numbers in a row of logits, a background class included."""
    view: View
    quantized: str | None = None
    """What it is already quantized to, in words; None for a float model."""
    depthwise: bool = False
    """Whether it has depthwise convolutions, whose channels differ much in range."""
    npu: tuple[str, ...] = ()
    """What the NPU does not run well, by operator, in words."""
    first_class: str | None = None
    """The first of the class names in the file; None where it has none."""
    notes: tuple[str, ...] = ()
    """What else a user should know."""


@dataclass(frozen=True)
class Images:
    """The images that a recipe draws from, and how many each set takes."""

    dataset: DatasetName
    folder: Path | None
    """None where none was given yet."""
    total: int | None
    classes: int
    """That the dataset has, with images or without."""
    last_label: int | None
    """The largest label of an image."""
    uneven: tuple[str, ...]
    """Why accuracies on them do not stand for all classes alike, in words; empty if they do."""
    calibration: int
    selection: int
    """0 where nothing is chosen."""
    auto: bool
    """Whether there are enough to go on until a verdict is certain."""
    limit: float | None
    """The drop that a check can be asked to stay within; None where so few images show none."""
    smallest: float
    """The smallest drop that could be shown if no image changed."""
    notes: tuple[str, ...] = ()

    @property
    def evaluation(self) -> int | None:
        """How many are left to judge on; None where the folder is not known."""
        return None if self.total is None else self.total - self.calibration - self.selection


@dataclass(frozen=True)
class Findings:
    """A model and its images."""

    model: ModelFindings
    images: Images

    @property
    def label_offset(self) -> int:
        """1 where the model certainly has a background class before those of the images.

        One output more than classes is no proof of one: the images may as well lack a class, and a
        wrong 1 would move every label.
        """
        certain = self.background_is_named or self.model.outputs == BACKGROUND_CLASSES
        return int(self.one_output_more and certain)

    @property
    def one_output_more(self) -> bool:
        """Whether the model has one output more than the images have classes."""
        return self.model.outputs == self.images.classes + 1

    @property
    def background_is_named(self) -> bool:
        """Whether the first of the file's class names is a background."""
        return (self.model.first_class or "").lower() == "background"

    @property
    def other_classes(self) -> bool:
        """Whether the model's outputs are not one for each class of the images."""
        return self.model.outputs - self.label_offset != self.images.classes

    @property
    def judged_alone(self) -> bool:
        """Whether there is no float model beside it: it is measured, not compared."""
        return self.model.source == "quantized-tflite"

    @property
    def first_check(self) -> str:
        """The check of the stage at which the model's own accuracy shows first."""
        if self.model.source in ("timm", "checkpoint", "mindcv"):
            return "weights"
        return "lower" if self.judged_alone else "export"

    @property
    def nothing_demanded(self) -> bool:
        """Whether the recipe has no threshold; that of weights is on the export's logits."""
        return self.first_check != "weights" and (self.judged_alone or self.images.limit is None)

    @property
    def unfit_labels(self) -> bool:
        """Whether there are images of classes for which the model has no output."""
        last = self.images.last_label
        return last is not None and last + self.label_offset >= self.model.outputs

    def to_json(self) -> dict[str, Any]:
        """JSON data; paths are texts."""
        data = asdict(self)
        data["model"]["view"]["preprocess"] = self.model.view.preprocess.model_dump(mode="json")
        data["model"]["file"] = None if self.model.file is None else str(self.model.file)
        data["model"]["label_offset"] = self.label_offset
        data["images"]["folder"] = None if self.images.folder is None else str(self.images.folder)
        data["images"]["evaluation"] = self.images.evaluation
        return data
