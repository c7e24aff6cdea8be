"""How often the intervals of a drop are wrong, by simulation, for numbers of images fixed beforehand
and for evaluations that are looked at again and again.

`python -m benchmarks.coverage` prints the worst case of each. Drawn by a fixed seed, without a model:
only how often an image is lost or gained matters. An end is wrong where the true drop lies beyond it.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.check.gate import Paired, drop_interval
from pipeline.check.sequential import log_capital

CONFIDENCE = 0.95
FIXED = (315, 1000, 5000)
CHANGED = (0.005, 0.01, 0.02, 0.05)
"""Parts of the images that are lost or gained."""
DROPS = (0.0, 0.0025, 0.005)
SETS, SEED = 40_000, 0
LOOKS = np.unique(np.geomspace(128, 10_000, 20).round().astype(int))
RUNS = 20_000
"""Simulated evaluations with `LOOKS`, for each truth."""


@cache
def _ends(images: int, lost: int, gained: int) -> tuple[float, float]:
    return drop_interval(Paired(images, lost, gained), CONFIDENCE)


def _truths() -> Iterator[tuple[float, list[float]]]:
    """Each drop with the rates of lost, gained and unchanged images."""
    for changed in CHANGED:
        for drop in DROPS:
            if drop <= changed:
                yield drop, [(changed + drop) / 2, (changed - drop) / 2, 1.0 - changed]


def fixed(images: int, random: np.random.Generator) -> tuple[float, float]:
    """The largest part of sets whose upper end is below the true drop, and whose lower is above."""
    worst = np.zeros(2)
    for drop, rates in _truths():
        drawn = random.multinomial(images, rates, size=SETS)
        pairs, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
        ends = np.array([_ends(images, int(lost), int(gained)) for lost, gained in pairs])
        wrong = np.stack([ends[:, 1] < drop, ends[:, 0] > drop])
        worst = np.maximum(worst, wrong @ counts / SETS)
    return float(worst[0]), float(worst[1])


def looking(
    is_below: Callable[[NDArray[np.int64], float], NDArray[np.bool_]], seed: int
) -> tuple[float, float]:
    """The smallest and largest part of evaluations at one of whose looks the upper end is below the
    true drop, which `is_below` says of counts `[..., 3]` of images, lost and gained."""
    random = np.random.default_rng(seed)
    parts = []
    for drop, rates in _truths():
        steps = [random.multinomial(n, rates, size=RUNS)[:, :2] for n in np.diff(LOOKS, prepend=0)]
        seen = np.stack(steps, axis=1).cumsum(axis=1)
        images = np.broadcast_to(LOOKS[None, :, None], (*seen.shape[:2], 1))
        counts = np.concatenate([images, seen], axis=-1)
        parts.append(float(is_below(counts, drop).any(axis=1).mean()))
    return min(parts), max(parts)


def by_one_look(counts: NDArray[np.int64], drop: float) -> NDArray[np.bool_]:
    """Of the interval for a fixed number of images, taken at every look all the same."""
    below = [_ends(*row)[1] < drop for row in counts.reshape(-1, 3).tolist()]
    return np.array(below).reshape(counts.shape[:-1])


def at_all_looks(counts: NDArray[np.int64], drop: float) -> NDArray[np.bool_]:
    """Of the interval that `images: auto` takes: its end is below where the bet has won enough."""
    enough = -math.log(1.0 - CONFIDENCE)
    return np.asarray(log_capital(*np.moveaxis(counts, -1, 0), limit=drop) >= enough)


def main() -> None:
    random = np.random.default_rng(SEED)
    print(f"intervals at {CONFIDENCE:.0%}; drops of {DROPS}, {CHANGED} of the images changed")
    print(
        f"\n{SETS} sets each, worst case\n{'images':>8}{'upper end wrong':>18}{'lower end wrong':>18}"
    )
    for images in FIXED:
        upper, lower = fixed(images, random)
        print(f"{images:>8}{upper:>18.2%}{lower:>18.2%}")
    print(f"\n{RUNS} evaluations each with {len(LOOKS)} looks at {LOOKS[0]} to {LOOKS[-1]} images")
    for name, is_below in (("fixed-number interval", by_one_look), ("auto's", at_all_looks)):
        least, most = looking(is_below, SEED)
        print(f"{name}: upper end wrong at some look in {least:.2%} to {most:.2%}")


if __name__ == "__main__":
    main()
