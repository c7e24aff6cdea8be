"""Lists about ImageNet that timm ships: synsets, their names, ReaL labels.

They are read from timm's files without importing timm, which takes seconds.
"""

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import Missing, MissingError, StageError

CLASS_COUNT = 1000
VALIDATION_COUNT = 50_000
"""Images of the ILSVRC2012 validation set, numbered from 1 in their names."""
_HINT = "install the version of timm that constraints.txt names (`make setup`)"


@lru_cache(maxsize=1)
def imagenet_synsets() -> dict[str, int]:
    """Label of each of the 1000 synsets, in their sorted order.

    Raises MissingError without timm, StageError if its list is not the one that is known.
    """
    path = _shipped("imagenet_synsets.txt")
    try:
        names = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(
            f"the list of classes is unreadable: {error}", where=str(path), hint=_HINT
        ) from error
    if len(names) != CLASS_COUNT or names != sorted(set(names)):
        raise StageError("not the 1000 sorted synsets of ILSVRC2012", where=str(path), hint=_HINT)
    return {name: label for label, name in enumerate(names)}


def imagenet_names() -> tuple[str, ...]:
    """WordNet's lemmas of each of the 1000 synsets. Raises as `imagenet_synsets` does."""
    synsets = imagenet_synsets()
    path = _shipped("imagenet_synset_to_lemma.txt")
    try:
        rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        lemmas = {row[0]: row[1] for row in rows}
        return tuple(lemmas[synset] for synset in synsets)
    except (OSError, UnicodeDecodeError, IndexError, KeyError) as error:
        raise StageError(
            f"the names of ImageNet's classes are unreadable: {error!r}",
            where=str(path),
            hint=_HINT,
        ) from error


@lru_cache(maxsize=1)
def real_labels() -> tuple[tuple[int, ...], ...]:
    """ReaL labels of the 50,000 validation images, in the order of their numbers; some have none,
    some several (Beyer et al., "Are we done with ImageNet?", arXiv 2006.07159).

    Raises MissingError without timm, StageError if its file is not the one that is known.
    """
    path = _shipped("imagenet_real_labels.json")
    try:
        rows = json.loads(path.read_bytes())
        labels = tuple(tuple(row) for row in rows)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StageError(
            f"the ReaL labels are unreadable: {error}", where=str(path), hint=_HINT
        ) from error
    known = all(type(one) is int and 0 <= one < CLASS_COUNT for row in labels for one in row)
    if len(labels) != VALIDATION_COUNT or not known:
        raise StageError("not the ReaL labels of 50,000 images", where=str(path), hint=_HINT)
    return labels


def single_real_labels() -> dict[int, int]:
    """Label of every validation image, by its number from 1, that ReaL gives exactly one label."""
    return {n: labels[0] for n, labels in enumerate(real_labels(), start=1) if len(labels) == 1}


def _shipped(name: str) -> Path:
    found = find_spec("timm")
    if found is None or not found.submodule_search_locations:
        what = "timm, whose lists of ImageNet's classes and labels are used, is not installed"
        raise MissingError([Missing(what, "set the environment up with `make setup`")])
    return Path(found.submodule_search_locations[0], "data", "_info", name)
