"""How many images a sequential evaluation takes, beside a number that is fixed beforehand.

`python -m benchmarks.sequential` prints the table; `savings` gives its rows. Drawn by a fixed seed,
without a model: only how often an image is lost or gained matters.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.check.gate import Paired, decide, drop_interval
from pipeline.check.sequential import log_capital

LIMIT, CONFIDENCE = 0.005, 0.95
FIXED, CEILING, BATCH = 5000, 20_000, 50
"""Images of a recipe of full size; most and at a time of the sequential evaluation."""
TRIALS, SEED = 300, 0
RATES = (
    (0.0, 0.0), (0.001, 0.001), (0.004, 0.004), (0.01, 0.009), (0.01, 0.0075), (0.012, 0.007),
    (0.016, 0.006), (0.025, 0.005), (0.06, 0.01), (0.2, 0.02),
)  # fmt: skip
"""Parts of the images that are lost and gained, in the order of their drop."""


@dataclass(frozen=True)
class Saving:
    """One truth: the share of evaluations that are decided, and the images they take on average."""

    lost: float
    gained: float
    fixed_decided: float
    decided: float
    wrong: float
    images: float

    @property
    def drop(self) -> float:
        return self.lost - self.gained

    @property
    def saved(self) -> float:
        """Part of the fixed number of images that need not be looked at; negative where more are."""
        return 1.0 - self.images / FIXED


def savings(trials: int = TRIALS, seed: int = SEED) -> list[Saving]:
    """One row for each of `RATES`; a few seconds on one core."""
    random = np.random.default_rng(seed)
    return [_saving(lost, gained, trials, random) for lost, gained in RATES]


def _saving(lost: float, gained: float, trials: int, random: np.random.Generator) -> Saving:
    rates = [lost, gained, 1.0 - lost - gained]
    fixed = random.multinomial(FIXED, rates, size=trials)
    verdicts = [
        decide(drop_interval(Paired(FIXED, int(a), int(b)), CONFIDENCE), LIMIT) for a, b, _ in fixed
    ]
    looks = CEILING // BATCH
    steps = random.multinomial(BATCH, rates, size=(trials, looks))[..., :2].cumsum(axis=1)
    images = BATCH * np.arange(1, looks + 1)
    passed, failed = np.full(trials, looks), np.full(trials, looks)
    enough = -math.log(1.0 - CONFIDENCE)
    for trial, (a, b) in enumerate(np.moveaxis(steps, -1, 1)):
        for first, reached in (
            (passed, log_capital(images, a, b, LIMIT) >= enough),
            (failed, log_capital(images, b, a, -LIMIT) >= enough),
        ):
            if reached.any():
                first[trial] = reached.argmax()
    taken = BATCH * np.minimum(np.minimum(passed, failed) + 1, looks)
    wrong = passed < failed if lost - gained > LIMIT else failed < passed
    return Saving(
        lost,
        gained,
        fixed_decided=1.0 - verdicts.count("UNDECIDED") / trials,
        decided=float((passed != failed).mean()),
        wrong=float(wrong.mean()),
        images=float(taken.mean()),
    )


def main() -> None:
    print(
        f"limit {100 * LIMIT:g} points at {CONFIDENCE:.0%}; {FIXED} images fixed, or batches of "
        f"{BATCH} up to {CEILING}; {TRIALS} evaluations each\n"
        f"{'drop':>6}{'lost':>7}{'gained':>8}{'fixed decides':>15}{'sequential':>12}{'wrong':>7}"
        f"{'images':>8}{'saved':>8}"
    )
    for row in savings():
        print(
            f"{100 * row.drop:>6.2f}{100 * row.lost:>7.2f}{100 * row.gained:>8.2f}"
            f"{row.fixed_decided:>15.1%}{row.decided:>12.1%}{row.wrong:>7.1%}"
            f"{row.images:>8.0f}{row.saved:>8.0%}"
        )


if __name__ == "__main__":
    main()
