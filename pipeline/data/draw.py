"""Which images calibrate, which select and which judge.

Images are ranked by sha256 of seed and content, so the choice depends on nothing but the images
and the options: not on names, places, the disk's order or the machine. Calibration and selection
take the classes in turn (each class's first, then each class's second, …, each turn by rank), so
that every class appears once before any appears twice; evaluation takes plain rank, an unbiased
sample of the dataset. The sets are drawn in that order and each excludes what was taken before, by
content, so they are disjoint whatever the files are called.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline import recipe
from pipeline.data.class_balance import uneven_classes
from pipeline.data.dataset import Dataset, Item
from pipeline.data.datasets import open_dataset
from pipeline.data.digest_index import DigestIndex
from pipeline.data.manifest import read_manifest
from pipeline.data.pool import Pool
from pipeline.data.samples import Sample, Samples
from pipeline.data.shares import images_of_set
from pipeline.errors import StageError
from pipeline.progress import Progress

_SHOWN = 5
_STRATIFIED = ("calibration", "selection")


@dataclass(frozen=True)
class SampleSets:
    """The images of a run. Raises ValueError if the sets were not disjoint by content."""

    calibration: Samples
    selection: Samples | None
    evaluation: Samples
    notes: tuple[str, ...]
    """What a user should know about them."""
    broken: tuple[str, ...]
    """Ids of images that were left out because they cannot be read or decoded."""
    duplicates: int
    """Images that were left out because another has the same content."""

    def __post_init__(self) -> None:
        sets = [part for part in (self.calibration, self.selection, self.evaluation) if part]
        digests = [sample.digest for part in sets for sample in part.items]
        if len(set(digests)) != len(digests):
            raise ValueError("a content was drawn twice")


def draw_samples(
    data: recipe.Data,
    folder: Path | None,
    recipe_folder: Path,
    index: DigestIndex,
    progress: Progress,
) -> SampleSets:
    """Draw the recipe's sets from the images in `folder` (None: the recipe's own, if it has one).

    Raises MissingError where there are no images, UsageError for a manifest that is not there, and
    StageError for one that is malformed, for a broken image (unless they are skipped), for equal
    images with different labels, for a set with fewer images than its `at_least`, and for uneven
    classes where the recipe says to stop.
    """
    if folder is None and data.folder is not None:
        folder = recipe_folder / data.folder
    draws = {"calibration": data.calibration, "selection": data.selection}
    asked = {name: draw for name, draw in draws.items() if draw is not None}
    asked["evaluation"] = data.evaluation
    try:
        return _Draw(data, folder, recipe_folder, index, progress).of(asked)
    finally:
        # Also after an error or Ctrl-C: what was read once need not be read again.
        index.save()


def stratified(samples: list[Sample], seed: int) -> list[Sample]:
    """Ranked with the classes in turn."""
    turns: Counter[int] = Counter()
    placed: list[tuple[int, int, Sample]] = []
    for place, sample in enumerate(ranked(samples, seed)):
        placed.append((turns[sample.label], place, sample))
        turns[sample.label] += 1
    return [sample for _, _, sample in sorted(placed)]


def ranked(samples: list[Sample], seed: int) -> list[Sample]:
    """In the order of sha256 of `seed:digest`."""
    return sorted(
        samples, key=lambda it: hashlib.sha256(f"{seed}:{it.digest}".encode("ascii")).digest()
    )


class _Draw:
    """One drawing under way: which images can be drawn, and which were."""

    def __init__(
        self,
        data: recipe.Data,
        folder: Path | None,
        recipe_folder: Path,
        index: DigestIndex,
        progress: Progress,
    ) -> None:
        self._data = data
        self._folder = folder
        self._recipe_folder = recipe_folder
        self._index = index
        self._progress = progress
        self._pools: dict[str, Pool] = {}
        self._manifests: dict[str, list[Item]] = {}
        self._named_anywhere: set[str] = set()
        """Contents that a manifest names, which are not there to be drawn for another set."""
        self._drawn: dict[str, Samples] = {}
        self._notes: list[str] = []

    def of(self, asked: dict[str, recipe.Draw]) -> SampleSets:
        datasets: dict[str, Dataset] = {}
        for draw in asked.values():
            if draw.dataset not in datasets:
                datasets[draw.dataset] = open_dataset(draw.dataset, self._folder, self._progress)
        for name, draw in asked.items():
            if draw.manifest is not None:
                path = self._recipe_folder / draw.manifest
                self._manifests[name] = self._named(name, path, datasets[draw.dataset])
        for dataset in datasets.values():
            self._pools[dataset.name] = self._pool(dataset, asked)
        for name, items in self._manifests.items():
            named = self._pools[asked[name].dataset].by_content(items)
            self._named_anywhere |= {sample.digest for sample in named}
        for name, draw in asked.items():
            behind = {it: asked[it] for it in asked if it not in (name, *self._drawn)}
            self._drawn[name] = self._samples(name, draw, behind)
        return self._result()

    def _named(self, name: str, path: Path, dataset: Dataset) -> list[Item]:
        """The manifest's images. Only evaluation looks at labels."""
        lines = read_manifest(
            path, dataset.name, dataset.listing(), labels_matter=name not in _STRATIFIED
        )
        others = sum(not line.agrees for line in lines)
        if others:
            self._notes.append(
                f"{name}: {others} of the manifest's {len(lines)} images have another label in the "
                "dataset, which does not matter there"
            )
        return [line.item for line in lines]

    def _pool(self, dataset: Dataset, asked: dict[str, recipe.Draw]) -> Pool:
        """All images of the dataset, or, if manifests name all that is asked for, only those."""
        items = dataset.listing()
        self._notes += dataset.notes()
        of_it = [name for name, draw in asked.items() if draw.dataset == dataset.name]
        if all(name in self._manifests for name in of_it):
            items = sorted({item for name in of_it for item in self._manifests[name]})
        return Pool(dataset, items, self._index, self._data.broken_images, self._progress)

    def _samples(self, name: str, draw: recipe.Draw, behind: dict[str, recipe.Draw]) -> Samples:
        pool = self._pools[draw.dataset]
        taken = {sample.digest for part in self._drawn.values() for sample in part.items}
        if name not in self._manifests:
            taken |= self._named_anywhere
        looked_at = 0
        while True:
            free = [sample for sample in self._wanted(name, pool) if sample.digest not in taken]
            if name in self._manifests and draw.images != "auto":
                order = free
            else:
                order = (stratified if name in _STRATIFIED else ranked)(free, draw.seed)
            count = images_of_set(draw, behind, len(order))
            # Where many are broken, looking at more each time keeps the number of rounds small.
            if pool.all_decode(order[: count + looked_at]):
                break
            looked_at += max(count, looked_at)
        if name == "evaluation":
            self._weigh(free, pool.dataset)
        chosen = tuple(order[:count])
        if len(chosen) < draw.least:
            raise self._too_few(name, draw, len(chosen))
        if name in self._manifests:
            overlap = sum(sample.digest in taken for sample in self._wanted(name, pool))
            if overlap and self._data.overlap == "stop":
                raise StageError(
                    f"{overlap} images of the manifest are in a set before, by content",
                    where=f"data.{name}",
                    hint="name other images, or write `overlap: leave_out` under `data:`",
                )
            if overlap:
                self._notes.append(
                    f"{name}: {overlap} images of the manifest were left out, because a set before "
                    "has taken their content"
                )
        if isinstance(draw.images, int) and len(chosen) < draw.images:
            source = "the manifest" if name in self._manifests else "the dataset"
            others = " for the other sets" if len(order) > count else ""
            self._notes.append(
                f"{name}: {len(chosen)} images instead of {draw.images}, because {source} has no more"
                f"{others}"
            )
        return Samples(name, pool.dataset, chosen)

    def _weigh(self, free: list[Sample], dataset: Dataset) -> None:
        """Look at all that evaluation may draw from, not at what chance drew."""
        wrong = uneven_classes(free, dataset.class_count)
        if wrong and self._data.uneven_classes == "stop":
            raise StageError(
                f"{'; '.join(wrong)}, in {dataset.name}",
                where="data.evaluation",
                hint="give images of every class, or write `uneven_classes: accept` under `data:` "
                "to judge on what there is",
            )
        self._notes += [f"evaluation: {words}, and accuracies are of these" for words in wrong]

    def _wanted(self, name: str, pool: Pool) -> list[Sample]:
        if name not in self._manifests:
            return pool.usable
        return pool.by_content(self._manifests[name])

    def _too_few(self, name: str, draw: recipe.Draw, count: int) -> StageError:
        pool = self._pools[draw.dataset]
        earlier = [
            f"{len(part)} of them were taken for {part.name}"
            for part in self._drawn.values()
            if part.dataset is pool.dataset
        ]
        there = [f"the dataset {draw.dataset} has {len(pool.usable)} usable images", *earlier]
        if name in self._manifests:
            there.append(f"the manifest names {len(self._manifests[name])}")
        if pool.broken:
            there.append(f"{len(pool.broken)} are broken")
        return StageError(
            f"{count} images, and at least {draw.least} are demanded: {', '.join(there)}",
            where=f"data.{name}",
            hint=f"give more images, or say with data.{name}.at_least how many will do"
            + (", or draw fewer for the sets before" if earlier else ""),
        )

    def _result(self) -> SampleSets:
        broken = tuple(id for pool in self._pools.values() for id in pool.broken)
        duplicates = sum(pool.duplicates for pool in self._pools.values())
        if broken:
            shown = ", ".join(broken[:_SHOWN]) + (", …" if len(broken) > _SHOWN else "")
            self._notes.append(f"broken images, left out: {len(broken)} ({shown})")
        if duplicates:
            self._notes.append(f"images of the same content as another, left out: {duplicates}")
        return SampleSets(
            calibration=self._drawn["calibration"],
            selection=self._drawn.get("selection"),
            evaluation=self._drawn["evaluation"],
            notes=(*self._notes, *self._index.notes),
            broken=broken,
            duplicates=duplicates,
        )
