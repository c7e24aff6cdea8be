"""The recipe's `data`: the images, and what the model sees of them."""

from typing import Literal, Self

from pydantic import model_validator

from pipeline.data.preprocess import Preprocess
from pipeline.recipe.section import Count, Section

DatasetName = Literal["imagenet", "imagenetv2", "imagenette", "folder", "npy", "digits"]


_CEILING = 5000


class Draw(Section):
    """One set of images, drawn from a dataset without looking at anything but their content."""

    dataset: DatasetName
    """`imagenet`: ILSVRC2012 as class folders, or its validation images with a ground truth.
    `imagenetv2`, `imagenette`: downloaded unless a folder is given. `folder`: class folders of any
    kind. `npy`: images.npy and labels.npy. `digits`: scikit-learn's."""
    images: Count | Literal["all", "auto"] = "all"
    """How many; `all` takes every image that no earlier set has taken. `auto`, for `evaluation`, goes
    on until each drop or top-1 that has a limit is certain to be within or beyond it."""
    ceiling: Count | Literal["all"] | None = None
    """With `images: auto`, the most that are looked at; 5000 where it is not given."""
    at_least: Count | None = None
    """Fewer usable images than this is an error; the default is what `images` asks for. Between it
    and `images`, the run goes on with what there is and says so. Where there are too few for all sets,
    calibration and selection take no more than this."""
    seed: int = 0
    """Images are ranked by sha256 of seed and content; for calibration and selection the classes
    take turns."""
    manifest: str | None = None
    """A text file of `id label` lines to take instead of drawing, relative to the recipe."""

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        if self.at_least is not None and self.most != "all" and self.at_least > self.most:
            field = "ceiling" if self.images == "auto" else "images"
            raise ValueError(f"at_least: {self.at_least} is more than {field}, {self.most}")
        return self

    @property
    def most(self) -> int | Literal["all"]:
        """The largest number of images that may be drawn."""
        return (self.ceiling or _CEILING) if self.images == "auto" else self.images

    @property
    def least(self) -> int:
        """The smallest number of images that will do."""
        if self.at_least is not None:
            return self.at_least
        return self.images if isinstance(self.images, int) else 1


class Data(Section):
    """The images. The three sets are disjoint by content, whatever the files are called."""

    preprocess: Preprocess | None = None
    """What the model sees; the default is the model's own, as its source declares it."""
    folder: str | None = None
    """Where the images are, relative to the recipe; `--data` overrides it."""
    calibration: Draw
    """Images whose activations choose the ranges."""
    selection: Draw | None = None
    """Images that rank candidate quantizations; never used to judge the result. Required where
    `quantize.ranges` is `auto`."""
    evaluation: Draw
    """Images that every stage is checked on."""
    broken_images: Literal["stop", "skip"] = "stop"
    """An image that cannot be decoded: stop with its name, or leave it out and count it."""
    overlap: Literal["stop", "leave_out"] = "stop"
    """Where a manifest names an image of an earlier set (calibration, selection, evaluation, in this
    order): stop, or leave it out of the later one and say so."""
    uneven_classes: Literal["stop", "accept"] = "stop"
    """Where evaluation has classes without images, or ten times as many of one as of another: stop,
    or judge on what there is and say so."""

    @model_validator(mode="after")
    def _only_evaluation_can_stop_early(self) -> Self:
        for name in ("calibration", "selection"):
            draw: Draw | None = getattr(self, name)
            if draw is not None and draw.images == "auto":
                raise ValueError(f"{name}: needs a number of images; auto is for evaluation")
        return self
