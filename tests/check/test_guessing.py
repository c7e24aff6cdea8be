"""Whether a model is any better than guessing, held to sums of the binomial distribution."""

import math

import pytest

from pipeline.check.guessing import LEVEL, caution, is_guessing


def tail(correct: int, images: int, classes: int) -> float:
    """The probability of so many right answers or more."""
    p = 1 / classes
    return sum(
        math.comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(correct, images + 1)
    )


@pytest.mark.parametrize(("images", "classes"), [(4, 1000), (100, 1000), (100, 10), (315, 10)])
def test_it_is_the_exact_test(images: int, classes: int) -> None:
    found = [is_guessing(correct, images, classes) for correct in range(images + 1)]
    assert found == [tail(correct, images, classes) > LEVEL for correct in range(images + 1)]
    assert found[0] and not found[-1]


def test_nothing_is_said_of_no_images() -> None:
    assert not is_guessing(0, 0, 10)


def test_what_is_said() -> None:
    assert caution(0.9, 300, 1000, 1001, 1) is None
    offset = caution(0.0067, 300, 1000, 1001, 0)
    assert offset is not None and "model.label_offset may have to be 1" in offset
    other = caution(0.0, 300, 1000, 1001, 1)
    assert other is not None and other.startswith("top-1 0.00 % of 300 images is no better than")
    assert "data.preprocess" in other
    assert caution(1.0, 5, 1, 1, 0) is None  # one class can only be guessed right
