"""A histogram whose bins survive a range that grows on the way.

Bins are `2**exponent` wide and aligned at zero, so two neighbours merge into one bin of twice the
width exactly. The width is the least at which everything seen fits into `BINS` bins, which makes
the result independent of the order and the grouping of the values, and mergeable.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BINS = 2048
_LEAST_EXPONENT = -120


@dataclass
class Histogram:
    """Counts `[BINS]`; bin `i` holds the values in `[first + i, first + i + 1) * 2**exponent`.

    `minimum` and `maximum` are exact and cover every value of the tensor, also those that a
    subsample left uncounted.
    """

    minimum: float = math.inf
    maximum: float = -math.inf
    exponent: int = _LEAST_EXPONENT
    first: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float32], minimum: float, maximum: float) -> None:
        """Count flat `values`; `minimum` and `maximum` are those of the whole tensor."""
        import boost_histogram as bh

        self._cover(minimum, maximum)
        width = self.width
        # BINS and the width are powers of two, so the library's own scaling is exact.
        axis = bh.axis.Regular(
            BINS, self.first * width, (self.first + BINS) * width, underflow=False, overflow=False
        )
        counted = bh.Histogram(axis, storage=bh.storage.Int64())
        counted.fill(values)
        self.counts += counted.view()

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    def edges(self) -> NDArray[np.float64]:
        """The `BINS + 1` edges of the bins."""
        return np.asarray((self.first + np.arange(BINS + 1)) * self.width, np.float64)

    def _cover(self, minimum: float, maximum: float) -> None:
        """Widen the bins until they hold the range, merging what has been counted."""
        self.minimum, self.maximum = min(self.minimum, minimum), max(self.maximum, maximum)
        exponent = _least_exponent(self.minimum, self.maximum, self.exponent)
        first = math.floor(math.ldexp(self.minimum, -exponent))
        if (exponent, first) == (self.exponent, self.first):
            return
        moved = np.zeros(BINS, np.int64)
        occupied = np.flatnonzero(self.counts)
        indices = (self.first + occupied) >> (exponent - self.exponent)
        np.add.at(moved, indices - first, self.counts[occupied])
        self.exponent, self.first, self.counts = exponent, first, moved


def _least_exponent(minimum: float, maximum: float, start: int) -> int:
    """The least exponent, from `start` on, at which the range fits into the bins."""
    exponent = start
    if maximum > minimum:
        exponent = max(start, math.floor(math.log2(maximum - minimum)) - int(math.log2(BINS)) - 1)
    while (
        math.floor(math.ldexp(maximum, -exponent)) - math.floor(math.ldexp(minimum, -exponent))
        >= BINS
    ):
        exponent += 1
    return exponent
