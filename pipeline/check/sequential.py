"""A verdict on as few images as it takes: a bound of the drop that may be looked at after any batch.

Looking at an ordinary interval again and again until it says something makes it say wrong things.
Here the differences of the images (1 lost, -1 gained, 0 else) are bet on. To show that the drop is
less than `m`, one starts with a capital of 1 and multiplies it by `1 + bet (m - difference)` for
every image. If the drop is in truth `m` or more, no bet can be expected to win, so the capital
is a nonnegative supermartingale and ever reaches `1 / (1 - confidence)` with a probability of at
most `1 - confidence` (Ville's inequality), however often and whenever one looks. The upper end is
the least `m` for which it was reached, the lower end is the same for losses and gains exchanged.

This is the confidence sequence by betting of Waudby-Smith and Ramdas, "Estimating means of bounded
random variables by betting", J. R. Stat. Soc. B 86 (2024) 1-27. The capital is spread over fixed
bets as in Orabona and Jun, "Tight concentrations and confidence sequences from the regret of
universal portfolio", IEEE Trans. Inf. Theory 70 (2024) 436-455, but over a grid of them, so that it
follows from the three counts alone, whatever the order within.

What is assumed is what `gate` assumes: the evaluation images are a sample of those the model is
meant for, and the statement is about all of those. Then images in an order that does not depend
on the models are independent draws, although no image is drawn twice, and the verdict is valid.
The order must be shuffled: by class, or with the easy images first, the first batches are a sample
of something else. Where it is only the finite set of images that matters, the draws without
replacement lean back to the mean they have left, which the proof does not cover; there the tests
show by simulation that errors are rarer, not more frequent.
"""

import math
from typing import TYPE_CHECKING

from pipeline.check.gate import Paired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

BETS = 32
LEAST_BET, LARGEST_BET = 0.05, 0.999
"""Bets as parts of the one that would lose all, spread evenly by their square roots. The best bet is
about `(m - drop) / variance`: near 1 where few images change, small where many do. Of the spreads
tried (even, by logarithm, with more on the largest) this one is nowhere far from the best."""

_FURTHEST = 1.0 - 1e-9


def anytime_interval(counts: Paired, confidence: float) -> tuple[float, float]:
    """Interval of the drop that holds at all looks together, either end at `confidence`.

    As a rule it is wider than `gate.drop_interval` of the same counts, which holds for a number of
    images that was fixed beforehand and must not be taken of an evaluation that stopped by itself.
    """
    exchanged = Paired(counts.images, counts.gained, counts.lost)
    return -_upper_end(exchanged, confidence), _upper_end(counts, confidence)


def log_capital(
    images: "ArrayLike", lost: "ArrayLike", gained: "ArrayLike", limit: float
) -> "NDArray[np.float64]":
    """Logarithm of the capital won by betting that the drop is less than `limit` (-1 < limit < 1).

    Counts of any shape, elementwise. Betting that it is more is the same with lost and gained
    exchanged and `-limit`.
    """
    import numpy as np
    from scipy.special import logsumexp

    counts = np.stack(np.broadcast_arrays(images, lost, gained), axis=-1)
    return np.asarray(logsumexp(counts @ _gains(limit), axis=-1) - math.log(BETS))


def least_images(limit: float, confidence: float) -> int | None:
    """How many images suffice for PASS if not a single one changes; None if no number would."""
    return None if limit <= 0.0 else _deciding(0.0, 0.0, limit, confidence)


def attainable(ceiling: int, limit: float, confidence: float) -> bool:
    """Whether so many images lead to PASS if none changes."""
    least = least_images(limit, confidence)
    return least is not None and least <= ceiling


def images_needed(counts: Paired, limit: float, confidence: float) -> int | None:
    """About how many images in all would decide, if these rates held; None if none within reach."""
    drop = counts.drop
    # One image more on either side: that next to nothing changes is not believed of a few images.
    changed = (counts.lost + counts.gained + 2) / (counts.images + 2)
    lost, gained = (changed + drop) / 2, (changed - drop) / 2
    if drop < limit:
        return _deciding(lost, gained, limit, confidence)
    return _deciding(gained, lost, -limit, confidence)


def _gains(limit: float) -> "NDArray[np.float64]":
    """`[3, BETS]`: what an image adds to the logarithm of the capital of each bet; if it is lost or
    gained, what it adds beyond that.

    Bets are parts of `1 / (1 - limit)`, with which a lost image loses all. With a part that stays
    the same the capital grows with `limit`, so that there is one least limit that it rejects.
    """
    import numpy as np

    bets = np.linspace(LEAST_BET**0.5, LARGEST_BET**0.5, BETS) ** 2 / (1.0 - limit)
    same, lost, gained = (np.log1p(bets * (limit - value)) for value in (0, 1, -1))
    return np.stack([same, lost - same, gained - same])


def _upper_end(counts: Paired, confidence: float) -> float:
    """The least drop above which all are rejected; 1 if none is."""
    from scipy.optimize import brentq

    if counts.images == 0 or counts.drop >= _FURTHEST:
        return 1.0
    enough = -math.log1p(-confidence)

    def beyond(drop: float) -> float:
        return float(log_capital(counts.images, counts.lost, counts.gained, drop)) - enough

    if beyond(_FURTHEST) < 0.0:
        return 1.0
    # At the observed drop itself, no bet has won.
    return float(brentq(beyond, max(counts.drop, -_FURTHEST), _FURTHEST, xtol=1e-15, rtol=1e-12))


def _deciding(lost: float, gained: float, limit: float, confidence: float) -> int | None:
    """After how many images of exactly these rates the capital suffices to say that the drop is
    less than `limit`; None where none of the bets wins."""
    from scipy.optimize import brentq
    from scipy.special import logsumexp

    per_image = (1.0, lost, gained) @ _gains(limit)
    best = float(per_image.max())
    if best <= 0.0:
        return None
    enough = -math.log1p(-confidence) + math.log(BETS)

    def beyond(images: float) -> float:
        return float(logsumexp(images * per_image)) - enough

    # With the upper bound, the best bet alone suffices, but for rounding.
    return math.ceil(float(brentq(beyond, 0.0, 1.001 * enough / best, rtol=1e-12)))
