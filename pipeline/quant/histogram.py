"""What calibration keeps of a tensor: bounds, a moving average of them, and a histogram whose
bins survive a range that grows on the way.

Bins are `2**exponent` wide and aligned at zero, so two neighbours merge into one bin of twice the
width exactly. The width is the least at which zero and everything seen fit into `BINS` bins, which
makes the result independent of the order and the grouping of the values, and mergeable.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BINS = 2048
MOVING_AVERAGE = 0.9
"""Weight of the past at every image (Jacob et al., arXiv 1712.05877, section 3.1)."""
_LEAST_EXPONENT = -120


@dataclass
class Histogram:
    """Counts `[BINS]`; bin `i` holds the values in `[first + i, first + i + 1) * 2**exponent`.

    `minimum` and `maximum` are exact and cover every value of the tensor, also those that a
    subsample left uncounted; `average_*` are their exponential moving averages over the images in
    order. `zeros` of the counted values are exactly 0, where integers make no error.
    """

    minimum: float = math.inf
    maximum: float = -math.inf
    average_minimum: float = math.nan
    average_maximum: float = math.nan
    zeros: int = 0
    exponent: int = _LEAST_EXPONENT
    first: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(
        self, values: NDArray[np.float32], minima: NDArray[np.float32], maxima: NDArray[np.float32]
    ) -> None:
        """Count flat `values`; `minima` and `maxima` `[N]` are those of every image, all values."""
        for low, high in zip(minima.tolist(), maxima.tolist(), strict=True):
            self._average(low, high)
        self._cover(float(minima.min()), float(maxima.max()))
        self.zeros += int(values.size - np.count_nonzero(values))
        # The width is a power of two, so the division is exact, and so is the floor: there are
        # no more than BINS bins on either side of zero.
        scaled = values * np.float32(math.ldexp(1.0, -self.exponent))
        bins = np.floor(scaled, out=scaled).astype(np.int64) - self.first
        self.counts += np.bincount(bins, minlength=BINS)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    def edges(self) -> NDArray[np.float64]:
        """The `BINS + 1` edges of the bins."""
        return np.asarray((self.first + np.arange(BINS + 1)) * self.width, np.float64)

    def _average(self, low: float, high: float) -> None:
        if math.isnan(self.average_minimum):
            self.average_minimum, self.average_maximum = low, high
            return
        self.average_minimum += (1 - MOVING_AVERAGE) * (low - self.average_minimum)
        self.average_maximum += (1 - MOVING_AVERAGE) * (high - self.average_maximum)

    def _cover(self, minimum: float, maximum: float) -> None:
        """Widen the bins until they hold the range, merging what has been counted."""
        self.minimum, self.maximum = min(self.minimum, minimum), max(self.maximum, maximum)
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        exponent = _least_exponent(low, high, self.exponent)
        first = math.floor(math.ldexp(low, -exponent))
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
