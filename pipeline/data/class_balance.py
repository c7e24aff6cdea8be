"""Whether the images to judge on stand for all classes alike."""

from collections import Counter
from collections.abc import Iterable

from pipeline.data.dataset import Item
from pipeline.data.samples import Sample

STRONG = 10
"""Times as many images of one class as of another: a model that is good at that class looks good."""


def uneven_classes(samples: Iterable[Sample | Item], class_count: int) -> tuple[str, ...]:
    """What is wrong with the numbers of images by class, in words; empty if nothing.

    `class_count` is how many classes the dataset has, with images or without.
    """
    counts = Counter(sample.label for sample in samples)
    wrong = []
    if len(counts) < class_count:
        wrong.append(f"only {len(counts)} of {class_count} classes have images")
    if counts:
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] > STRONG * counts[least]:
            wrong.append(
                f"class {most} has {counts[most]} images and class {least} has {counts[least]}"
            )
    return tuple(wrong)
