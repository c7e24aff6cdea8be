"""What speaks against a normalization for an input that came quantized."""

import re

import pytest

from pipeline.data.preprocess import Normalization
from pipeline.quant.input_fit import input_range, misfits

BYTES = Normalization(mean=(0.0,) * 3, std=(1 / 255,) * 3)
HALF = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(
    ("grid", "normalization", "said"),
    [
        (("uint8", 1.0, 0), BYTES, None),
        (("int8", 2.0, 0), BYTES, None),
        (("uint8", 1 / 128, 128), HALF, None),
        (("uint8", 1 / 128, 128), BYTES, "data.preprocess gives 0 to 255, so that much is cut off"),
        (("uint8", 1.0, 0), HALF, "stands for 0 to 255.* -1 to 1, so that much is cut off"),
        (("int8", 2.0, 0), HALF, r"gives -1 to 1, so that pictures use 0.4% of the integers"),
    ],
)
def test_a_range_that_does_not_fit_is_said(
    grid: tuple[str, float, int], normalization: Normalization, said: str | None
) -> None:
    found = list(misfits(*grid, normalization))
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_the_ends_of_the_integers() -> None:
    assert input_range("int8", 0.5, -128) == (0.0, 127.5)
    assert input_range("uint8", 0.5, 255) == (-127.5, 0.0)
