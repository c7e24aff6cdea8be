"""Whether a model is any better than guessing: the first thing to know of how it is used.

A float model that is not was given other pictures than it was trained on, or its classes in another
order, and then no drop says anything: what is at the bottom cannot fall.
"""

LEVEL = 0.01
"""So often a model that guesses may be taken for one that does not."""


def is_guessing(correct: int, images: int, classes: int) -> bool:
    """Whether so many right answers are no more than guessing gives among so many classes (an exact
    binomial test, one-sided, at `LEVEL`)."""
    from scipy.stats import binom

    return images > 0 and float(binom.sf(correct - 1, images, 1.0 / classes)) > LEVEL


def caution(top1: float, images: int, classes: int, outputs: int, label_offset: int) -> str | None:
    """What to say of a first stage that guesses; None of one that does not."""
    if classes < 2 or not is_guessing(round(top1 * images), images, classes):
        return None
    background = (
        f"the model has {outputs} outputs for {classes} classes, so model.label_offset may have to be 1"
        if (outputs, label_offset) == (classes + 1, 0)
        else "check model.label_offset, data.preprocess and the order of the classes"
    )
    return (
        f"top-1 {100 * top1:.2f} % of {images} images is no better than guessing, and no drop means "
        f"anything below it: {background}"
    )
