"""How far B's accuracy is from A's, and how sure that is.

Both runs saw the same images, so the difference is one of paired proportions, as a drop is
(`check/gate.py`). A report does not say which images were right, but it has how many predictions
of each run differ from its float model's. Where both have the same float model, no more images can
have changed between A and B than both of these together. That bounds the pairs that carry
information from above, and the interval grows with them: what is said is true and somewhat
cautious.
"""

from typing import TYPE_CHECKING

from pipeline.check.gate import Paired, drop_interval
from pipeline.quantities import confidence, percent

if TYPE_CHECKING:
    from pipeline.report.compare_runs import Comparison, Numbers, StagePair

CONFIDENCE = 0.95
"""Of each end of the interval."""


def change_interval(a: "Numbers", b: "Numbers") -> tuple[float, float] | None:
    """Interval of B's top-1 less A's, as fractions, for runs with the same float model that were
    judged on the same images; None where a report does not say how many predictions flipped."""
    if a.top1 is None or b.top1 is None or a.flip_rate is None or b.flip_rate is None:
        return None
    images = a.images
    net = round(images * a.top1) - round(images * b.top1)
    most = min(round(images * a.flip_rate) + round(images * b.flip_rate), images)
    most -= (most - net) % 2  # lost and gained are whole numbers
    if most < abs(net):  # no run gives such numbers
        return None
    low, high = drop_interval(Paired(images, (most + net) // 2, (most - net) // 2), CONFIDENCE)
    return -high, -low


def summary_of(comparison: "Comparison") -> str:
    """The two runs in a sentence, by the last stage whose accuracy both have; empty where that
    means nothing, which the warnings explain."""
    judged = [pair for pair in comparison.stages if pair.top1_change is not None]
    if not judged:
        return ""
    last = judged[-1]
    if last.same_file:
        return f"{last.name}: both runs made the same file."
    return _sentence(last)


def _sentence(pair: "StagePair") -> str:
    a, b, change = pair.a, pair.b, pair.top1_change
    assert a is not None and b is not None and change is not None
    assert a.top1 is not None and b.top1 is not None
    seen = (
        f"{pair.name}: on the same {a.images} images A is right on {percent(a.top1)} and B on "
        f"{percent(b.top1)}, {_moved(change) if change else 'just as many'}."
    )
    if pair.change_interval is None:
        return (
            f"{seen} Whether that is chance is not said: the runs have other float models, or their "
            "reports do not have how many predictions flipped."
        )
    low, high = pair.change_interval
    chance = "That may be chance: in" if low <= 0 <= high else "That is more than chance: in"
    return (
        f"{seen} {chance if change else 'In'} general the difference lies between {_moved(low)} and "
        f"{_moved(high)}, each end with {confidence(CONFIDENCE)} confidence."
    )


def _moved(change: float) -> str:
    return f"{100 * abs(change):.2f} points {'more' if change > 0 else 'less'}"
