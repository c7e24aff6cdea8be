"""What the classes of a dataset are called, for files that carry labels."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from pipeline.data.timm_lists import imagenet_names
from pipeline.recipe import DatasetName

BACKGROUND = "background"
"""TensorFlow's own class before ImageNet's 1000."""


@runtime_checkable
class NamesItsClasses(Protocol):
    """A dataset whose classes are the user's own."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names in the order of labels, or None where the images come without any."""


CLASS_NAMES: dict[DatasetName, Callable[[], tuple[str, ...]]] = {
    "imagenet": imagenet_names,
    "imagenetv2": imagenet_names,
    "imagenette": imagenet_names,
    "digits": lambda: tuple("0123456789"),
}
"""The datasets whose classes are the same wherever the images are."""


def own_class_names(images: object) -> tuple[str, ...] | None:
    """The names that an opened dataset brings; None for those of `CLASS_NAMES`, and where the user
    gave none."""
    return images.class_names if isinstance(images, NamesItsClasses) else None


def class_names(
    dataset: DatasetName, outputs: int, own: tuple[str, ...] | None = None
) -> tuple[str, ...] | None:
    """Names for a model's outputs in order; None where it has other classes than the dataset.

    The classes of `folder` and `npy` are called as the opened dataset says (`own_class_names`).
    """
    if dataset not in CLASS_NAMES:
        return own if own is not None and len(own) == outputs else None
    names = CLASS_NAMES[dataset]()
    if outputs == len(names) + 1:
        return (BACKGROUND, *names)
    return names if outputs == len(names) else None
