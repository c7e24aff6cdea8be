"""The classes of the ILSVRC2012 validation images, from the ground truth that is at hand.

Looked for in the folder of images and up to four folders above it, nearest first, in this order:

- `LOC_val_solution.csv`: image and synset, as on Kaggle;
- `imagenet_2012_validation_synset_labels.txt`: a synset for each of the 50,000, in order;
- `ILSVRC2012_validation_ground_truth.txt` of the development kit (also in its `data` folder): an
  ILSVRC id for each of the 50,000. These ids are *not* in the sorted order of the synsets, so the
  kit's `meta.mat` (or a later kit's `meta_clsloc.mat`) must lie beside it;
- `real.json`: ReaL labels (arXiv 2006.07159), a list of labels for each of the 50,000.

Without any, the ReaL labels that timm ships are taken. Of ReaL labels only single ones are used.
Whatever is read is held against ReaL, because an order mistaken for another agrees with it nowhere
(measured: the original labels agree with 90.7 % of the 39,394 single ones).
"""

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.image_files import missing
from pipeline.data.timm_lists import (
    CLASS_COUNT,
    VALIDATION_COUNT,
    imagenet_synsets,
    single_real_labels,
)
from pipeline.errors import StageError

DEVKIT = "ILSVRC2012_devkit_t12/data"
DEVKIT_TEXT = "ILSVRC2012_validation_ground_truth.txt"
MAPPINGS = ("meta.mat", "meta_clsloc.mat")
LEVELS_ABOVE = 4
"""The CSV lies four folders above Kaggle's ILSVRC/Data/CLS-LOC/val."""
LEAST_AGREEMENT = 0.5
_COMPARABLE = 100
_LARGEST_MAPPING = 16 << 20
"""Bytes; the real one has a quarter of a megabyte."""
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})(?:\.JPEG)?")


@dataclass(frozen=True)
class GroundTruth:
    """Labels (of the sorted order) by the number in the image's name."""

    labels: dict[int, int]
    source: str
    """What they are and where they were found, for the user."""
    real: bool = False
    """Whether they are ReaL's, and not those of ILSVRC itself."""

    @property
    def silence(self) -> str:
        """Why an image may have no label."""
        if self.real:
            return "because ReaL gives them no label or several"
        return "which it does not name"


def find_ground_truth(folder: Path) -> GroundTruth:
    """The nearest ground truth, or timm's ReaL labels.

    Raises MissingError for a development kit's text without its mapping, StageError for a file
    that is malformed or does not agree with ReaL.
    """
    here = folder.resolve()
    for place in (here, *list(here.parents)[:LEVELS_ABOVE]):
        for name, read in _READERS.items():
            for path in (place / name, place / DEVKIT / name):
                if path.is_file():
                    return _plausible(read(path), path)
    return GroundTruth(single_real_labels(), f"the ReaL labels that timm ships; {_REAL}", real=True)


_REAL = "accuracies are higher than with the original labels, drops are as good"


def _csv(path: Path) -> GroundTruth:
    """Rows of `ILSVRC2012_val_00048981,n03995372 85 1 499 272`, several boxes of one class."""
    form = "rows are `ImageId,PredictionString`, such as ILSVRC2012_val_00000001,n01751748 1 2 3 4"
    labels: dict[int, int] = {}
    try:
        for number, row in enumerate(csv.reader(_text(path).splitlines()), start=1):
            if number == 1 and row[:1] == ["ImageId"]:
                continue
            where = f"{path}:{number}"
            image = _NUMBERED.fullmatch(row[0]) if len(row) == 2 else None
            if image is None or not row[1].split():
                raise StageError(f"cannot be understood: {row!r:.100}", where=where, hint=form)
            label = _label(row[1].split()[0], where)
            if labels.setdefault(int(image[1]), label) != label:
                raise StageError(f"{row[0]} had another class before", where=where)
    except csv.Error as error:
        raise StageError(f"no CSV ({error})", where=str(path), hint=form) from error
    return GroundTruth(labels, f"those of {path}")


def _synsets_in_order(path: Path) -> GroundTruth:
    lines = _lines(path)
    synsets = imagenet_synsets()
    if not all(line in synsets for line in lines):
        for number, line in enumerate(lines, start=1):
            _label(line, f"{path}:{number}")
    return _in_order((synsets[line] for line in lines), f"those of {path}")


def _devkit(path: Path) -> GroundTruth:
    mappings = [place for name in MAPPINGS if (place := path.parent / name).is_file()]
    if not mappings:
        raise missing(
            f"ImageNet ground truth: {path} has ILSVRC ids, which are not in the order of a "
            f"model's outputs, and the mapping {MAPPINGS[0]} is not beside it",
            f"copy {MAPPINGS[0]} from the data folder of the development kit to {path.parent}, "
            "put LOC_val_solution.csv in its place, or take the text away to have the ReaL labels "
            "used that timm ships",
        )
    by_id = _mapping(mappings[0])
    labels: list[int] = []
    for number, line in enumerate(_lines(path), start=1):
        label = by_id.get(int(line)) if line.isascii() and line.isdecimal() else None
        if label is None:
            raise StageError(
                f"{line[:40]!r} is no ILSVRC id",
                where=f"{path}:{number}",
                hint="each line is a number from 1 to 1000",
            )
        labels.append(label)
    return _in_order(labels, f"those of {path}, read with {mappings[0].name}")


def _mapping(path: Path) -> dict[int, int]:
    """Label by ILSVRC id, from the struct array `synsets` with fields `ILSVRC…_ID` and `WNID`."""
    import struct
    import zlib

    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    hint = "take it from the data folder of the development kit"
    try:
        if path.stat().st_size > _LARGEST_MAPPING:
            raise ValueError(f"larger than {_LARGEST_MAPPING >> 20} MiB")
        synsets = loadmat(path, variable_names=["synsets"], squeeze_me=True)["synsets"]
        key = next(name for name in synsets.dtype.names if re.fullmatch(r"ILSVRC\d{4}_ID", name))
        pairs = [(int(row[key]), str(row["WNID"])) for row in synsets]
    except (
        *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, StopIteration),
        *(EOFError, OverflowError, MemoryError, RuntimeError, MatReadError),
        *(NotImplementedError, RecursionError, zlib.error, struct.error),
    ) as error:
        raise StageError(
            f"no list of synsets ({error or type(error).__name__})", where=str(path), hint=hint
        ) from error
    # Ids above 1000 are the synsets above the classes.
    classes = {id: synset for id, synset in pairs if 1 <= id <= CLASS_COUNT}
    labels = imagenet_synsets()
    if set(classes.values()) != set(labels) or len(classes) != CLASS_COUNT:
        raise StageError("not the 1000 synsets of ILSVRC2012", where=str(path), hint=hint)
    return {id: labels[synset] for id, synset in classes.items()}


def _real(path: Path) -> GroundTruth:
    hint = "it is a list of 50,000 lists of labels"
    try:
        rows = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise StageError(f"no JSON ({error})", where=str(path), hint=hint) from error
    if not isinstance(rows, list) or len(rows) != VALIDATION_COUNT:
        raise StageError("not the ReaL labels", where=str(path), hint=hint)
    labels: dict[int, int] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or not all(_is_label(label) for label in row):
            raise StageError(f"image {number} has {row!r:.60}", where=str(path), hint=hint)
        if len(row) == 1:
            labels[number] = row[0]
    return GroundTruth(labels, f"ReaL labels, those of {path}; {_REAL}", real=True)


_READERS: dict[str, Callable[[Path], GroundTruth]] = {
    "LOC_val_solution.csv": _csv,
    "imagenet_2012_validation_synset_labels.txt": _synsets_in_order,
    DEVKIT_TEXT: _devkit,
    "real.json": _real,
}


def _is_label(value: object) -> bool:
    return type(value) is int and 0 <= value < CLASS_COUNT


def _plausible(truth: GroundTruth, path: Path) -> GroundTruth:
    real = single_real_labels()
    both = [number for number in truth.labels if number in real]
    agreeing = sum(truth.labels[number] == real[number] for number in both)
    if len(both) >= _COMPARABLE and agreeing < LEAST_AGREEMENT * len(both):
        raise StageError(
            f"only {agreeing} of {len(both)} images have the class that ReaL gives them, so these "
            "labels are of another order, or of other images",
            where=str(path),
            hint="take the file as it was published; ILSVRC ids need the meta.mat of the same kit",
        )
    return truth


def _in_order(labels: Iterable[int], source: str) -> GroundTruth:
    return GroundTruth(dict(enumerate(labels, start=1)), source)


def _label(synset: str, where: str) -> int:
    label = imagenet_synsets().get(synset)
    if label is None:
        raise StageError(
            f"{synset[:40]!r} is no synset of ILSVRC2012",
            where=where,
            hint="take the file as it was published",
        )
    return label


def _lines(path: Path) -> list[str]:
    lines = _text(path).split()
    if len(lines) != VALIDATION_COUNT:
        raise StageError(
            f"{len(lines)} lines, and there are {VALIDATION_COUNT} validation images",
            where=str(path),
            hint="take the file as it was published",
        )
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except OSError as error:
        raise StageError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise StageError("not text in UTF-8", where=str(path)) from error
