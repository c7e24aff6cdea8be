"""Whether a measured top-1 is the one that a model's makers published.

A figure is held against a measurement only where both are of the same thing: the published weights
as they are, the model's own preprocessing, and images of the very set it was published for, from all
classes alike, with the labels it was published for. Anything else says nothing about the weights, and
the check is SKIPPED with the reason.

The images are some `n` of the `N` that the figure is about, drawn without looking at the model. The
number of right answers among them is then hypergeometric, and the score interval (Wilson, "Probable
inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22 (1927) 209-212)
with the correction for a finite set contains the published figure `p` where the measured one is
within `z * sqrt(p (1 - p) / n * (N - n) / (N - 1))` of it.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

from pipeline import quantities
from pipeline.check.result import Verdict
from pipeline.data.preprocess import Preprocess

SET_SIZES = {"imagenet": 50_000, "imagenetv2": 10_000}
"""Images of the sets that figures are published for: ImageNet's validation images, and ImageNetV2
matched frequency."""
TOLERANCE = 0.002
"""Other versions of decoders and libraries change some answers; a fraction of the images."""
WIDEST = 0.02
"""With an interval wider than this to either side, a wrong preprocessing would not show."""
CONFIDENCE = 0.99
_VALIDATION = re.compile(r"ILSVRC2012_val_\d{8}[_.]")


@dataclass(frozen=True)
class Figure:
    """A published top-1 accuracy, a fraction: of which dataset (in the recipe's words), and where
    it stands."""

    top1: float
    dataset: str
    source: str


@dataclass(frozen=True)
class Circumstances:
    """Under what a top-1 was measured."""

    dataset: str
    changed_weights: str | None
    """Why the weights are not known to be the published ones; None where they are."""
    preprocess: Preprocess
    own_preprocess: Preprocess
    """The one that the model's source declares."""
    foreign_images: int
    """Evaluation images that are not known to be of the published set (`foreign_images`)."""
    uneven_classes: tuple[str, ...]
    """What is wrong with the numbers of images by class (`pipeline.data.class_balance`), among all
    that evaluation could have drawn: chance alone leaves classes out of a few thousand images."""
    other_labels: str | None = None
    """Why the labels are not those of the published set; None where they are."""


def foreign_images(dataset: str, ids: Iterable[str]) -> int:
    """How many evaluation images are not known to be of the set that figures are published for.

    A folder of ImageNet may hold training images, which a model has seen; validation images keep
    their names.
    """
    if dataset != "imagenet":
        return 0
    return sum(_VALIDATION.match(id.rpartition("/")[2]) is None for id in ids)


def why_not_held(figure: Figure, circumstances: Circumstances) -> str | None:
    """Why the figure says nothing about this measurement; None where it does."""
    if circumstances.dataset != figure.dataset:
        return f"it was published for {figure.dataset}, not for {circumstances.dataset}"
    if figure.dataset not in SET_SIZES:
        return f"no published set of {figure.dataset} is known"
    if circumstances.changed_weights is not None:
        return circumstances.changed_weights
    if circumstances.preprocess != circumstances.own_preprocess:
        return "the recipe's preprocessing is not the model's own"
    if circumstances.foreign_images:
        return (
            f"{circumstances.foreign_images} evaluation images are not called ILSVRC2012_val_*, so "
            "they are not known to be validation images"
        )
    if circumstances.other_labels is not None:
        return circumstances.other_labels
    if circumstances.uneven_classes:
        return f"the images do not stand for all classes: {circumstances.uneven_classes[0]}"
    return None


def published_interval(
    figure: Figure, images: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Between which a top-1 on so many images of the set is expected, the tolerance included.

    Two-sided at `confidence`; `figure.dataset` is one of `SET_SIZES`.
    """
    total = SET_SIZES[figure.dataset]
    drawn = min(images, total)
    p = figure.top1
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    spread = z * math.sqrt(p * (1 - p) / drawn * (total - drawn) / (total - 1))
    # Half an answer, because counts are whole.
    half = spread + 0.5 / drawn + TOLERANCE
    return max(p - half, 0.0), min(p + half, 1.0)


def images_to_hold(figure: Figure) -> int:
    """The fewest images with which the interval is narrow enough for PASS.

    It follows from the figure alone and never from what the model answers, so stopping there is a
    number fixed beforehand, and the interval keeps its confidence.
    """

    def narrow(images: int) -> bool:
        low, high = published_interval(figure, images)
        return high - low <= 2 * WIDEST

    return 1 + bisect_left(range(1, SET_SIZES[figure.dataset]), True, key=narrow)


def judge_published(
    figure: Figure,
    circumstances: Circumstances,
    images: int,
    correct: int,
    confidence: float = CONFIDENCE,
) -> tuple[Verdict, str]:
    """Hold `correct` right answers of `images` against the figure: verdict and reason.

    FAIL is as surely said of few images as of many; PASS only of enough, else UNDECIDED.
    """
    stated = f"the published top-1 of {quantities.percent(figure.top1)} ({figure.source})"
    reason = why_not_held(figure, circumstances)
    if reason is not None:
        return "SKIPPED", f"{stated} is not held: {reason}"
    if images < 1:
        return "SKIPPED", f"{stated} is not held: there are no images"
    low, high = published_interval(figure, images, confidence)
    measured = correct / images
    says = (
        f"top-1 {quantities.percent(measured)} on {images} images, {quantities.percent(low)} to {quantities.percent(high)} "
        f"expected at {quantities.confidence(confidence)} from {stated}"
    )
    if not low <= measured <= high:
        return "FAIL", f"{says}: other weights, preprocessing or labels than published"
    if high - low > 2 * WIDEST:
        return "UNDECIDED", f"{says}: too few images to show a mistake"
    return "PASS", says
