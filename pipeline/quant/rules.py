"""Range rules: from what calibration saw of a tensor to the range that integers will cover.

A rule is a pure function of a histogram. A new rule is one function and one line in `RULES`.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.histogram import Histogram
from pipeline.quant.noise import density, squared_error
from pipeline.quant.scheme import IntegerType
from pipeline.recipe import Ranges as RangeOptions

Range = tuple[float, float]
Float = NDArray[np.float64]
Rule = Callable[[Histogram, RangeOptions, IntegerType], Range]

COARSE = np.linspace(1.0, 0.04, 17)
FINE = np.linspace(-0.045, 0.045, 7)
"""Parts of an end of the range that `mse` tries: all of the former, then around the best."""
ENTROPY_CANDIDATES = 48


def minmax(seen: Histogram, options: RangeOptions, type: IntegerType) -> Range:
    """Everything that occurred. One outlier in one image sets the scale."""
    return seen.minimum, seen.maximum


def moving_average(seen: Histogram, options: RangeOptions, type: IntegerType) -> Range:
    """Exponential moving averages of the images' own bounds (Jacob et al., arXiv 1712.05877,
    section 3.1): an outlier counts as one image among its neighbours."""
    return seen.average_minimum, seen.average_maximum


def percentile(seen: Histogram, options: RangeOptions, type: IntegerType) -> Range:
    """Cut both tails so that at either end `percentile` percent of the values stay inside.

    Each end is the edge of the bin in which the share is reached, so at most one bin too wide,
    and never beyond what occurred (McKinstry et al., arXiv 1809.04191, section 3.2).
    """
    share = options.percentile / 100 * int(seen.counts.sum())
    edges = seen.edges()
    upper = int(np.searchsorted(np.cumsum(seen.counts), share))
    lower = int(np.searchsorted(np.cumsum(seen.counts[::-1]), share))
    high = edges[min(upper + 1, len(edges) - 1)]
    low = edges[max(len(edges) - 2 - lower, 0)]
    return max(float(low), seen.minimum), min(float(high), seen.maximum)


def mse(seen: Histogram, options: RangeOptions, type: IntegerType) -> Range:
    """The range with the least mean squared error between real and quantized values.

    Each end in turn runs through parts of what occurred while the other is held, twice
    (the criterion of Banner et al., arXiv 1810.05723, with the histogram in place of their
    Gaussian or Laplacian).
    """
    edges, counts = density(seen)
    low, high = min(seen.minimum, 0.0), max(seen.maximum, 0.0)
    if counts.sum() <= 0:
        return low, high

    def error(below: float, above: float) -> float:
        return squared_error(edges, counts, below * low, above * high, type)

    below = above = 1.0
    for _ in range(2 if low < 0 < high else 1):
        if high > 0:
            above = _least(partial(error, below))
        if low < 0:
            below = _least(partial(error, above=above))
    return below * low, above * high


def _least(error: Callable[[float], float]) -> float:
    """The fraction with the least error: the best of `COARSE`, then of its neighbourhood."""
    coarse = min(COARSE.tolist(), key=error)
    fine = [fraction for fraction in (coarse + FINE).tolist() if 0 < fraction <= 1]
    return float(min(fine, key=error))


def entropy(seen: Histogram, options: RangeOptions, type: IntegerType) -> Range:
    """The range whose quantized distribution diverges least from the real one.

    Migacz, "8-bit inference with TensorRT" (GTC 2017): for thresholds T on the magnitude, the
    distribution of what lies within T, with the rest piled onto its last bin, is compared by
    Kullback-Leibler divergence with itself merged into as many levels as the integers have.
    Tensors with both signs are cut at -T and T.
    """
    counts = _magnitudes(seen)
    levels = (type.maximum - type.minimum + 1) // (2 if seen.minimum < 0 else 1)
    occupied = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if occupied <= levels:
        return seen.minimum, seen.maximum
    stops = np.unique(np.linspace(levels, occupied, ENTROPY_CANDIDATES).astype(int))
    divergences = _divergences(counts, stops, levels)
    # The widest of equals: nothing is gained by cutting more.
    best = int(stops[len(stops) - 1 - int(np.argmin(divergences[::-1]))])
    limit = best * seen.width
    return max(seen.minimum, -limit), min(seen.maximum, limit)


def _magnitudes(seen: Histogram) -> Float:
    """Counts by magnitude, in bins of the histogram's width from zero on, without exact zeros."""
    indices = seen.first + np.arange(len(seen.counts))
    bins = np.where(indices >= 0, indices, -indices - 1)
    occupied = seen.counts > 0
    counts = np.bincount(bins[occupied], weights=seen.counts[occupied].astype(np.float64))
    if len(counts):
        counts[0] = max(counts[0] - seen.zeros, 0.0)
    return np.asarray(counts, np.float64)


def _divergences(counts: Float, stops: NDArray[np.int64], levels: int) -> Float:
    """For each stop the KL divergence of the first `stop` bins, outliers piled on the last, from
    their merged form.

    The merged form spreads each level evenly over the bins that are occupied; it knows nothing of
    the outliers. So it is constant within a level, and sums over bins are differences of running
    sums, which are taken once for all stops.
    """
    from scipy.special import xlogy

    def running(column: Float) -> Float:
        return np.concatenate([[0.0], np.cumsum(column)])

    mass, bins = running(counts), running(np.sign(counts))
    plogp = running(xlogy(counts, counts))
    total = mass[-1]
    starts = -(-np.arange(levels + 1) * stops[:, None] // levels)  # [stops, levels + 1]
    inside = np.diff(mass[starts])
    merged = inside / np.maximum(np.diff(bins[starts]), 1)
    last, outliers = counts[stops - 1], total - mass[stops]
    piled = plogp[stops] - xlogy(last, last) + xlogy(last + outliers, last + outliers)
    # A bin that has mass only by outliers costs as if half a value had been counted there.
    under = np.where(last > 0, merged[:, -1], 0.5)
    cross = xlogy(inside, merged).sum(axis=1) + xlogy(outliers, under)
    kept = np.maximum(mass[stops], np.finfo(np.float64).tiny)
    divergences = (piled - cross) / total + np.log(kept / total)
    return np.where(mass[stops] > 0, divergences, np.inf)  # else nothing would be left


RULES: dict[str, Rule] = {
    "minmax": minmax,
    "moving_average": moving_average,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}


def choose_range(seen: Histogram, options: RangeOptions, type: IntegerType) -> Range:
    """The range that the recipe's rule takes of this tensor."""
    return RULES[options.rule](seen, options, type)


def describe_rule(options: RangeOptions) -> str:
    """The rule and its parameter, as the Plan's `source` names it."""
    return f"percentile {options.percentile:g}" if options.rule == "percentile" else options.rule
