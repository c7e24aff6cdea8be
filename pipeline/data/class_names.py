"""What the classes of a dataset are called, for files that carry labels."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from pipeline.data.imagenet import imagenet_synsets
from pipeline.errors import StageError
from pipeline.recipe import DatasetName

BACKGROUND = "background"
"""TensorFlow's own class before ImageNet's 1000."""


def imagenet_names() -> tuple[str, ...]:
    """WordNet's lemmas of each of the 1000 synsets, as timm ships them."""
    synsets = imagenet_synsets()
    found = find_spec("timm")
    assert found is not None and found.submodule_search_locations  # imagenet_synsets has looked
    place = Path(found.submodule_search_locations[0], "data/_info/imagenet_synset_to_lemma.txt")
    try:
        rows = [line.split("\t", 1) for line in place.read_text(encoding="utf-8").splitlines()]
        lemmas = {row[0]: row[1] for row in rows}
        return tuple(lemmas[synset] for synset in synsets)
    except (OSError, UnicodeDecodeError, IndexError, KeyError) as error:
        raise StageError(
            f"the names of ImageNet's classes are unreadable: {error!r}",
            where=str(place),
            hint="install the version of timm that constraints.txt names (`make setup`)",
        ) from error


CLASS_NAMES: dict[DatasetName, Callable[[], tuple[str, ...]]] = {
    "imagenet": imagenet_names,
    "digits": lambda: tuple("0123456789"),
}


def class_names(dataset: DatasetName, outputs: int) -> tuple[str, ...] | None:
    """Names for a model's outputs in order; None where it has other classes than the dataset."""
    names = CLASS_NAMES[dataset]()
    if outputs == len(names) + 1:
        return (BACKGROUND, *names)
    return names if outputs == len(names) else None
