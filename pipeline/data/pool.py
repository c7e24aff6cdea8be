"""The images of one dataset that can be drawn: every content once, and none that is broken."""

from collections.abc import Iterable
from typing import Literal

from pipeline.data.dataset import BrokenImage, Dataset, Item
from pipeline.data.digest_index import DigestIndex
from pipeline.data.samples import Sample
from pipeline.errors import StageError
from pipeline.progress import Progress

_SHOWN = 5


class Pool:
    """Images by content. Of equal ones the lowest id stands for all.

    Raises StageError for equal images with different labels, and, unless broken images are
    skipped, BrokenImage for one that cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        items: Iterable[Item],
        index: DigestIndex,
        if_broken: Literal["stop", "skip"],
        progress: Progress,
    ) -> None:
        self.dataset = dataset
        self._index = index
        self._if_broken = if_broken
        self._progress = progress
        self._broken: dict[str, str] = {}
        self._usable: dict[str, Sample] = {}
        """By digest, in the order of ids."""
        self._copies: dict[str, list[str]] = {}
        """By digest, where there are any: the ids beyond the one that stands for all."""
        listed = list(items)
        digests, unreadable = index.digests(dataset, [item.id for item in listed], progress)
        self._leave_out(unreadable)
        contradictions: dict[str, Item] = {}
        for item in listed:
            if item.id not in digests:
                continue
            digest = digests[item.id]
            kept = self._usable.setdefault(digest, Sample(item.id, item.label, digest))
            if kept.id == item.id:
                continue
            self._copies.setdefault(digest, []).append(item.id)
            if kept.label != item.label:
                contradictions.setdefault(digest, item)
        self._refuse(contradictions)

    @property
    def usable(self) -> list[Sample]:
        """What can be drawn, as far as is known, in the order of ids."""
        return list(self._usable.values())

    @property
    def broken(self) -> tuple[str, ...]:
        """Ids that were left out because they cannot be read or decoded, sorted."""
        return tuple(sorted(self._broken))

    @property
    def duplicates(self) -> int:
        """Images whose content another one stands for."""
        return sum(len(copies) for copies in self._copies.values())

    def by_content(self, items: Iterable[Item]) -> list[Sample]:
        """The usable images of these, each content once, in this order."""
        stands_for = {sample.id: sample for sample in self._usable.values()}
        for digest, copies in self._copies.items():
            stands_for.update(dict.fromkeys(copies, self._usable[digest]))
        found = (stands_for[item.id] for item in items if item.id in stands_for)
        return list(dict.fromkeys(found))

    def all_decode(self, samples: Iterable[Sample]) -> bool:
        """Whether all of these can be decoded; those that cannot are usable no more.

        Raises BrokenImage instead, naming them, where the recipe says to stop.
        """
        by_id = {sample.id: sample for sample in samples}
        broken = self._index.broken(self.dataset, by_id, self._progress)
        self._leave_out({id: broken[id] for id in by_id if id in broken})
        for id, reason in broken.items():
            digest = by_id[id].digest
            del self._usable[digest]
            self._broken.update(dict.fromkeys(self._copies.pop(digest, []), reason))
        return not broken

    def _leave_out(self, broken: dict[str, str]) -> None:
        if broken and self._if_broken == "stop":
            (id, reason), *others = broken.items()
            if others:
                shown = ", ".join(other for other, _ in others[:_SHOWN])
                more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
                reason = f"{reason}; also broken: {shown}{more}"
            raise BrokenImage(self.dataset.where(id), reason)
        self._broken.update(broken)

    def _refuse(self, contradictions: dict[str, Item]) -> None:
        """Equal files that are no images at all (empty downloads) are broken, not contradictory."""
        self.all_decode(self._usable[digest] for digest in contradictions)
        pairs = [
            f"{self._usable[digest].id} (label {self._usable[digest].label}) = "
            f"{item.id} (label {item.label})"
            for digest, item in contradictions.items()
            if digest in self._usable
        ]
        if pairs:
            more = f"\n  and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
            raise StageError(
                "images of equal content have different labels, so one of them is wrong:\n  "
                + "\n  ".join(pairs[:_SHOWN])
                + more,
                where=f"the dataset {self.dataset.name}",
                hint="remove one or both of them",
            )
