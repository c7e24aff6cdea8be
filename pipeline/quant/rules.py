"""Range rules: from what calibration saw of a tensor to the range that integers will cover.

A rule is a pure function of a histogram. A new rule is one function and one line in `RULES`.
"""

from collections.abc import Callable

import numpy as np

from pipeline.quant.histogram import Histogram
from pipeline.recipe import Ranges as RangeOptions

Range = tuple[float, float]
Rule = Callable[[Histogram, RangeOptions], Range]


def minmax(seen: Histogram, options: RangeOptions) -> Range:
    """Everything that occurred. One outlier in one image sets the scale."""
    return seen.minimum, seen.maximum


def percentile(seen: Histogram, options: RangeOptions) -> Range:
    """Cut both tails so that at either end `percentile` percent of the values stay inside.

    Each end is the edge of the bin in which the share is reached, so at most one bin too wide,
    and never beyond what occurred (McKinstry et al., arXiv 1809.04191, section 3.2).
    """
    total = int(seen.counts.sum())
    share = options.percentile / 100 * total
    edges = seen.edges()
    upper = int(np.searchsorted(np.cumsum(seen.counts), share))
    lower = int(np.searchsorted(np.cumsum(seen.counts[::-1]), share))
    high = edges[min(upper + 1, len(edges) - 1)]
    low = edges[max(len(edges) - 2 - lower, 0)]
    return max(float(low), seen.minimum), min(float(high), seen.maximum)


RULES: dict[str, Rule] = {"minmax": minmax, "percentile": percentile}


def choose_range(seen: Histogram, options: RangeOptions) -> Range:
    """The range that the recipe's rule takes of this tensor."""
    return RULES[options.rule](seen, options)


def describe_rule(options: RangeOptions) -> str:
    """The rule and its parameter, as the Plan's `source` names it."""
    return f"percentile {options.percentile:g}" if options.rule == "percentile" else options.rule
