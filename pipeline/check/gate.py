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

    Score interval of Tango, "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17 (1998) 891-908: all drops
    that a score test would not reject. It lies within -1 to 1 and has a width even where no image
    changes.

    It is an approximation, worst where few images are lost and none gained (summed exactly in the
    tests, for drops that can be proven with the images at all). At 95 %, the upper end, on which
    PASS rests, covers up to 2 points less than it says, and half a point from ten lost images on;
    the lower end up to 5, and 2 from fifteen on. At 99 % they fall short by up to half a point and
    by 2, at 90 % by up to 10 and 8.
    """
    exchanged = Paired(paired.images, paired.gained, paired.lost)
    return -_upper_end(exchanged, confidence), _upper_end(paired, confidence)


def least_images(limit: float, confidence: float) -> int | None:
    """How many images suffice for PASS if not a single one changes; None if no number would."""
    if limit <= 0.0:
        return None
    z = NormalDist().inv_cdf(confidence)
    images = max(1, math.ceil(z * z * (1.0 - limit) / limit))
    # The division may have been rounded across a whole number.
    return images if smallest_provable_drop(images, confidence) <= limit else images + 1


def attainable(images: int, limit: float, confidence: float) -> bool:
    """Whether so many images lead to PASS if none changes."""
    return smallest_provable_drop(images, confidence) <= limit


def smallest_provable_drop(images: int, confidence: float) -> float:
    """The upper end of the interval when not a single image changes: a threshold below it can only be
    passed with this many images where more are gained than lost."""
    return _upper_end(Paired(images, 0, 0), confidence)


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
    # One image more on either side: that next to nothing changes is not believed of a few images.
    changed = (paired.lost + paired.gained + 2) / (paired.images + 2)
    z = NormalDist().inv_cdf(confidence)
    return math.ceil(z * z * _variance(changed, paired.drop, limit) / margin**2)


def _upper_end(paired: Paired, confidence: float) -> float:
    """The largest drop that the score test does not reject."""
    z = NormalDist().inv_cdf(confidence)
    observed = paired.drop
    # The three cases without any variance, where the score is 0 / 0 at the observed drop.
    if paired.lost == paired.images:
        return 1.0
    if paired.lost == paired.gained == 0:
        return z * z / (paired.images + z * z)
    if paired.gained == paired.images:
        return (z * z - paired.images) / (z * z + paired.images)
    from scipy.optimize import brentq

    changed = (paired.lost + paired.gained) / paired.images
    root = math.sqrt(paired.images)

    def beyond(drop: float) -> float:
        return root * (drop - observed) - z * math.sqrt(_variance(changed, observed, drop))

    return float(brentq(beyond, observed, 1.0, xtol=1e-15, rtol=1e-14))


def _variance(changed: float, observed: float, drop: float) -> float:
    """Variance of one image's difference (1 lost, -1 gained, 0 else) if `drop` is the true drop.

    `changed` and `observed` are the observed rates of lost plus gained and of lost minus gained.
    Given the drop, the most likely rate of changes is the larger root of
    s² - (changed + observed drop) s + observed drop - (1 - changed) drop² = 0,
    which is Tango's equation in s = 2 p21 + drop; its discriminant is written as a sum of squares,
    which does not cancel.
    """
    half = (changed + observed * drop) / 2
    away = abs(drop)
    against = max(0.0, changed - math.copysign(1.0, drop) * observed) / 2
    likely = half + math.sqrt((away - half) ** 2 + 2 * against * away * (1.0 - away))
    return max(0.0, likely - drop * drop)
