"""Choose among candidates by what they do to the logits of images kept for choosing.

A few dozen images cannot rank candidates by top-1, but the signal to noise ratio of their logits
can. Three rounds, each of fewer: every rule on every Graph without corrected biases, on a few
images; the best of each Graph with corrected biases, on the same; the best two, on all images.

The few are spread over the energies of the float logits, largest and smallest included: one image
of large logits can decide the ratio over all, and a range rule that clips it must not survive
because it was not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.check.metrics import sqnr_db
from pipeline.quant.candidate import Base, Candidate, Correction, logits_of
from pipeline.quant.plan import Plan
from pipeline.quant.rules import RULES, describe_rule
from pipeline.recipe import Ranges

FIRST_IMAGES = 8
KEPT = 2
"""How many rules of the favoured Graph, and one fewer of each other, reach the second round."""
FINALISTS = 2


@dataclass(frozen=True)
class Tried:
    """A candidate and its logit SQNR in dB on so many selection images."""

    candidate: Candidate
    sqnr_db: float
    images: int

    def to_json(self) -> dict[str, Any]:
        return {
            "graph": self.candidate.graph,
            "rule": describe_rule(self.candidate.rule),
            "bias_correction": self.candidate.correction,
            "sqnr_db": round(self.sqnr_db, 3) if np.isfinite(self.sqnr_db) else None,
            "images": self.images,
        }


def choose(
    bases: Mapping[str, Base],
    corrections: Sequence[Correction],
    crops: Sequence[NDArray[np.uint8]],
    reference: NDArray[np.float32],
    threads: int,
    done: Callable[[], None],
) -> tuple[Tried, list[Tried]]:
    """The winner, and everything that was tried in order; `done` is called after each.

    `crops` are batches of selection images and `reference` `[N, C]` their float logits.
    """
    tried: list[Tried] = []
    few = spread_by_energy(reference, FIRST_IMAGES)
    first = [np.concatenate(crops)[few]], reference[few]

    def attempt(
        candidate: Candidate, images: tuple[Sequence[NDArray[np.uint8]], NDArray[np.float32]]
    ) -> Tried:
        base = bases[candidate.graph]
        plan: Plan = base.plan(candidate.rule, candidate.correction)
        batches, expected = images
        logits = logits_of(base.render(plan), plan, batches, threads)
        result = Tried(candidate, sqnr_db(logits, expected), len(logits))
        tried.append(result)
        done()
        return result

    rules = [Ranges(rule=name) for name in RULES]  # type: ignore[arg-type]
    plain = [attempt(Candidate(graph, rule, "none"), first) for graph in bases for rule in rules]
    kept = _second_round(sorted(plain, key=_badness), list(bases))
    pool = kept if "none" in corrections else []
    for item in kept:
        for correction in corrections:
            if correction != "none":
                candidate = replace(item.candidate, correction=correction)
                pool = [*pool, attempt(candidate, first)]
    best = sorted(pool, key=_badness)[:FINALISTS]
    finals = [attempt(item.candidate, (crops, reference)) for item in best]
    return min(finals, key=_badness), tried


def spread_by_energy(logits: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Rows of `logits` `[N, C]`, at most `count`, at even steps of their rank by energy, from the
    smallest to the largest, in the order of the images."""
    energy = np.square(logits, dtype=np.float64).sum(axis=1)
    ranks = np.linspace(0, len(logits) - 1, min(count, len(logits))).round().astype(np.intp)
    return np.sort(np.argsort(energy, kind="stable")[ranks])


def _badness(item: Tried) -> float:
    return -item.sqnr_db


def _second_round(ranked: list[Tried], graphs: list[str]) -> list[Tried]:
    """The best rules of every Graph; one more of the Graph that is last in the chain."""
    kept = []
    for graph in graphs:
        own = [item for item in ranked if item.candidate.graph == graph]
        kept += own[: KEPT if graph == graphs[-1] else KEPT - 1]
    return kept


def attempts(graphs: int, corrections: Sequence[Correction]) -> int:
    """How many candidates `choose` will try."""
    kept = graphs - 1 + KEPT
    corrected = kept * sum(correction != "none" for correction in corrections)
    pool = corrected + (kept if "none" in corrections else 0)
    return graphs * len(RULES) + corrected + min(FINALISTS, pool)
