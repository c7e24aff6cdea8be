"""The statistics of a drop in accuracy: an interval for paired proportions, and a decision.

Float and quantized model see the same images, so the drop is the difference of two dependent
proportions and only the images on which exactly one of them is right carry information.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from pipeline.check.result import Verdict


@dataclass(frozen=True)
class Paired:
    """Counts of images: only the reference right (`lost`), only the other right (`gained`)."""

    images: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Loss of accuracy as a fraction; negative is a gain."""
        return (self.lost - self.gained) / self.images


def drop_interval(paired: Paired, confidence: float) -> tuple[float, float]:
    """Interval of the drop, each end of which is a one-sided bound at `confidence`.

    Adjusted Wald interval of Bonett and Price, "Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data", J. Educ. Behav. Stat. 37 (2012):
    one imagined image is added to either discordant count, so that it has a width even where
    no image is discordant. Its coverage is close to nominal on average; where images are only lost
    and few of them, the upper end covers up to 5 points less than it says (simulated in the tests).
    """
    images = paired.images + 2
    lost, gained = (paired.lost + 1) / images, (paired.gained + 1) / images
    centre = lost - gained
    z = NormalDist().inv_cdf(confidence)
    half = z * math.sqrt((lost + gained - centre**2) / images)
    return max(-1.0, centre - half), min(1.0, centre + half)


def smallest_provable_drop(images: int, confidence: float) -> float:
    """The upper end of the interval when not a single image changes: no threshold below it can
    be passed with this many images."""
    return drop_interval(Paired(images, 0, 0), confidence)[1]


def decide(interval: tuple[float, float], limit: float) -> Verdict:
    """PASS if the whole interval is within the limit, FAIL if all of it is beyond."""
    lower, upper = interval
    if upper <= limit:
        return "PASS"
    return "FAIL" if lower > limit else "UNDECIDED"


def images_needed(paired: Paired, limit: float, confidence: float) -> int | None:
    """About how many images would decide, if these rates held; None if no number would."""
    margin = abs(limit - paired.drop)
    if margin == 0.0:
        return None
    rate = (paired.lost + paired.gained + 2) / (paired.images + 2)
    z = NormalDist().inv_cdf(confidence)
    return math.ceil(z * z * (rate - paired.drop**2) / margin**2) + 2
