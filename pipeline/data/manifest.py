"""A manifest: the images of a set, chosen once and written down."""

from pathlib import Path
from typing import NamedTuple

from pipeline.data.dataset import Item
from pipeline.errors import StageError, UsageError

FORM = "a line is `id label`, such as `n01440764/x.JPEG 0`; lines that begin with # are comments"


MOST_DISAGREEMENT = 0.2
"""Part of the labels that may be others than the dataset's where labels do not matter: two ground
truths of one dataset differ by less (ImageNet's own and ReaL by 0.09), two orders by nearly all."""


class ManifestLine(NamedTuple):
    """An image of the dataset that the manifest names, and where (`file:line`).

    `agrees` is False where the manifest gives it another label; the item has the dataset's.
    """

    item: Item
    where: str
    agrees: bool = True


def read_manifest(
    path: Path, dataset: str, listing: list[Item], *, labels_matter: bool = True
) -> list[ManifestLine]:
    """The images that the manifest names, in its order.

    An id is the dataset's own, or an ending of it (`x.JPEG` or `n01440764/x.JPEG` for
    `val/n01440764/x.JPEG`) that only one image has, so that a manifest serves whether or not the
    folder has a layer above the classes. Raises UsageError where there is no such file, and
    StageError with `file:line` for a line that is malformed, names no image or two, names one a
    second time, or gives a label that is not the dataset's; where labels do not matter, only if
    more than a fifth do.
    """
    find = _Finder(listing)
    found: list[ManifestLine] = []
    first: dict[str, str] = {}
    disagreeing: list[StageError] = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        id, label = _parsed(line, where)
        if id is None:
            continue
        item = find.only(id, dataset, where)
        if item.label != label:
            other_label = StageError(
                f"label {label} for {id}, which in the dataset {dataset} has label {item.label}",
                where=where,
                hint="the manifest belongs to another order of the classes, or the image lies in "
                "the folder of another class, or another ground truth (ReaL, say) labels it",
            )
            disagreeing.append(other_label)
            if labels_matter:
                raise other_label
        if item.id in first:
            raise StageError(
                f"{id} was named before, in {first[item.id]}", where=where, hint="remove one line"
            )
        first[item.id] = where
        found.append(ManifestLine(item, where, item.label == label))
    if len(disagreeing) > MOST_DISAGREEMENT * len(found):
        raise disagreeing[0]
    if not found:
        raise StageError("the manifest names no image", where=str(path), hint=FORM)
    return found


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise UsageError(
            f"the manifest cannot be read ({error.strerror or error})",
            where=str(path),
            hint="the path of `manifest:` is relative to the recipe; leave it out to have the "
            "images drawn",
        ) from error


def _parsed(line: bytes, where: str) -> tuple[str | None, int]:
    """Id and label; the id is None for a comment or an empty line."""
    try:
        words = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise StageError("not text in UTF-8", where=where, hint=FORM) from error
    if not words or words.startswith("#"):
        return None, 0
    # An id may contain blanks, a label may not.
    id, _, label = words.replace("\t", " ").rpartition(" ")
    if not id.strip() or not (label.isascii() and label.isdecimal()):
        raise StageError(f"cannot be understood: {words[:80]!r}", where=where, hint=FORM)
    return id.strip(), int(label)


class _Finder:
    """Looks ids up, whole or by their ending."""

    def __init__(self, listing: list[Item]) -> None:
        self._whole = {item.id: item for item in listing}
        self._by_name: dict[str, list[Item]] = {}
        for item in listing:
            self._by_name.setdefault(item.id.rpartition("/")[2], []).append(item)

    def only(self, id: str, dataset: str, where: str) -> Item:
        if id in self._whole:
            return self._whole[id]
        named = self._by_name.get(id.rpartition("/")[2], [])
        ending = [item for item in named if item.id.endswith(f"/{id}")]
        if len(ending) == 1:
            return ending[0]
        if not ending:
            raise StageError(
                f"no image {id} in the dataset {dataset}",
                where=where,
                hint=f"the dataset has {len(self._whole)} images, such as {min(self._whole)}; "
                "give the folder the manifest was made for, or another manifest",
            )
        raise StageError(
            f"{id} may be {ending[0].id} or {ending[1].id}",
            where=where,
            hint="write more of the path",
        )
