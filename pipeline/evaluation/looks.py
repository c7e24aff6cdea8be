"""The evaluation images in parts, and an artifact's logits made part by part as they are asked for.

A fixed number of images is one part. With `images: auto` the parts grow, so that a ruined model is
found after the first, and a verdict that needs many images costs at most a quarter more of them.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.store import Entry

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

FIRST = 128
"""Images of the first part; all that a stage without a limit of drop or top-1 is judged on, unless a
published figure is held to it."""
GROWTH = 1.25
STEP = 16
"""Parts end at multiples of the batch that models are run on."""


@dataclass(frozen=True)
class Looks:
    """Evaluation images in their order, and whether one looks at them part by part."""

    samples: "Samples"
    auto: bool

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """After how many images each part ends; the last ends with them all."""
        ends = []
        end = FIRST
        while self.auto and end < len(self.samples):
            ends.append(end)
            end = -(-int(end * GROWTH) // STEP) * STEP
        return (*ends, len(self.samples))

    def parts_with(self, images: int) -> int:
        """How many parts it takes to have so many images, or all there are."""
        return 1 + bisect_left(self.ends[:-1], images)

    def part(self, index: int) -> "Samples":
        """The images of one part."""
        return self.samples.part((0, *self.ends)[index], self.ends[index])

    def first(self, count: int) -> "Samples":
        """The images of the first `count` parts."""
        return self.samples.part(0, self.ends[count - 1])


class Outputs:
    """The stored logits of one artifact on the parts, as far as they were asked for."""

    def __init__(self, looks: Looks, make: "Callable[[Samples], Entry]") -> None:
        self._looks, self._make = looks, make
        self._made: list[Entry] = []

    def first(self, count: int) -> tuple[Entry, ...]:
        """The entries of the first `count` parts."""
        while len(self._made) < count:
            self._made.append(self._make(self._looks.part(len(self._made))))
        return tuple(self._made[:count])
