"""The recipe's `data`: the images, and what the model sees of them."""

from typing import Literal, Self

from pydantic import model_validator

from pipeline.data.preprocess import Preprocess
from pipeline.recipe.section import Count, Section

DatasetName = Literal["imagenet", "imagenetv2", "imagenette", "folder", "npy", "digits"]


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
