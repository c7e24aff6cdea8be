"""Subsets: images chosen once, so that a manifest can name them.

Drawn as a recipe draws its calibration images (`draw.py`): the classes in turn, each turn by rank,
so that every class has an image before any has two, and the first lines of a manifest are a subset
of their own. Ranks come from the images' content; where no images are at hand, but a list of ids
and labels is, from the ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.artifact import write_text
from pipeline.data.dataset import Dataset, Item, content_digest
from pipeline.data.datasets import open_dataset
from pipeline.data.digest_index import DigestIndex
from pipeline.data.draw import stratified
from pipeline.data.pool import Pool
from pipeline.data.samples import Sample
from pipeline.data.timm_lists import single_real_labels
from pipeline.errors import UsageError
from pipeline.progress import Progress


@dataclass(frozen=True)
class Subset:
    """Images in the order they were drawn, and where from, in words."""

    items: tuple[Item, ...]
    source: str
    notes: tuple[str, ...]
    """What a user should know: classes without an image, images that were left out."""


def make_subset(
    output: Path,
    dataset: str,
    folder: Path | None,
    images: int,
    seed: int,
    store_root: Path,
    progress: Progress,
    labels: Literal["dataset", "real"] = "dataset",
) -> Subset:
    """`pipeline subset`: draw and write the manifest `output`.

    `labels` is `real` to draw ImageNet's validation images by their single ReaL labels, for which
    no images are needed; `store_root` is where digests are remembered. Raises UsageError for what
    cannot be asked for, and what opening and reading the dataset raises.
    """
    words = f"pipeline subset --dataset {dataset}"
    if labels == "real":
        if dataset != "imagenet":
            raise UsageError(
                f"there are no ReaL labels for {dataset}",
                where="--labels",
                hint="they are for the validation images of imagenet",
            )
        words += " --labels real"
        subset = draw_from_real_labels(images, seed)
    else:
        index = DigestIndex(store_root / "images.json")
        opened = open_dataset(dataset, folder, progress)
        subset = draw_from_dataset(opened, images, seed, index, progress)
    write_manifest(output, subset, f"{words} --images {images} --seed {seed}")
    for note in subset.notes:
        progress.note(note)
    return subset


def draw_from_dataset(
    dataset: Dataset,
    images: int,
    seed: int,
    index: DigestIndex,
    progress: Progress,
    if_broken: Literal["stop", "skip"] = "stop",
) -> Subset:
    """`images` images of a dataset, each content once, ranked by sha256 of seed and content.

    Raises UsageError for more than there are, and what Pool raises.
    """
    try:
        pool = Pool(dataset, dataset.listing(), index, if_broken, progress)
        while True:
            order = stratified(pool.usable, seed)
            if pool.all_decode(order[:images]):
                break
    finally:
        index.save()
    notes = [*dataset.notes(), *index.notes]
    if pool.broken:
        notes.append(f"broken images, left out: {len(pool.broken)}")
    if pool.duplicates:
        notes.append(f"images of the same content as another, left out: {pool.duplicates}")
    chosen = [Item(sample.id, sample.label) for sample in order[:images]]
    source = f"the {len(order)} images of {dataset.name}, ranked by content"
    return _subset(chosen, images, len(order), {sample.label for sample in order}, source, notes)


def draw_from_real_labels(images: int, seed: int) -> Subset:
    """`images` of ImageNet's validation images that have a single ReaL label, ranked by sha256 of
    seed and id. Needs no images. Raises UsageError for more than there are."""
    samples = [
        Sample(id, label, content_digest(id.encode("ascii")))
        for number, label in single_real_labels().items()
        for id in [f"ILSVRC2012_val_{number:08}.JPEG"]
    ]
    chosen = [Item(sample.id, sample.label) for sample in stratified(samples, seed)[:images]]
    source = (
        f"the {len(samples)} ImageNet validation images with a single ReaL label "
        "(arXiv 2006.07159, as timm ships them), ranked by id"
    )
    return _subset(chosen, images, len(samples), {sample.label for sample in samples}, source, [])


def write_manifest(path: Path, subset: Subset, command: str) -> None:
    """Write the subset atomically in the form that `read_manifest` reads; `command` drew it.

    Raises UsageError for an id that the form has no way to write.
    """
    for item in subset.items:
        # What read_manifest would not give back as it is: line breaks, tabs, blanks at the ends.
        plain = item.id == item.id.strip() != "" and item.id.isprintable()
        if not plain or item.id.startswith("#"):
            raise UsageError(
                f"a manifest has no way to write the name {item.id!r}",
                where=str(path),
                hint="rename the image",
            )
    classes = len({item.label for item in subset.items})
    head = [
        f"# {len(subset.items)} images of {classes} classes, drawn by",
        f"#   {' '.join(command.split())}",
        f"# from {subset.source}.",
        "# The classes come in turn, so the first lines are a subset of their own.",
    ]
    lines = [f"{item.id} {item.label}" for item in subset.items]
    write_text(path, "\n".join([*head, *lines]) + "\n")


def _subset(
    chosen: list[Item],
    images: int,
    there: int,
    classes: Iterable[int],
    source: str,
    notes: list[str],
) -> Subset:
    if there < images:
        raise UsageError(
            f"{images} images are asked for, and there are {there} ({source})",
            where="--images",
            hint="ask for fewer",
        )
    without = len(set(classes)) - len({item.label for item in chosen})
    if without:
        notes.append(
            f"{without} classes have no image in it, because there are fewer images than classes"
        )
    return Subset(tuple(chosen), source, tuple(notes))
