"""Digests and numbers marked GOLDEN are the output of `stbir_resize_uint8` of stb_image_resize 0.97
as it lies in SyNAP's runtime (github.com/synaptics-synap/runtime, 5f7961c, lib/stb), called with
three channels and no strides on `picture(w, h)`, compiled by GCC 12.2 for aarch64 with -O2 and run
under QEMU 7.2. A digest is the first half of the result's sha256."""

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.stb_resize import resize

GOLDEN = {
    (500, 375, 224, 168): "4037b8631c1e4c25",
    (500, 375, 299, 224): "f558201fac72132b",
    (375, 500, 224, 299): "ae3212b59baaada4",
    (640, 480, 299, 299): "7f744f8491b3dff9",
    (100, 80, 224, 179): "08012cc91a06bfaa",
    (100, 300, 224, 150): "5f63de2b5dcb19e6",
    (300, 100, 150, 224): "b136f2d4d0a5fa01",
    (224, 100, 224, 100): "07a240e64fd35524",
    (224, 300, 224, 224): "9853e16ca0a2204b",
    (8, 8, 32, 32): "c0a07f7aa4a227f5",
    (1, 1, 5, 3): "04d244476faa5b3a",
    (3, 2, 1, 1): "022e4a4abf541466",
    (900, 7, 299, 2): "fcbf7d5675d5ff2b",
    (31, 29, 30, 28): "138fe88232326bcf",
}
"""By width and height, before and after. Of the first five, builds that round a product before
they add it give another digest."""


def picture(width: int, height: int) -> NDArray[np.uint8]:
    y, x, c = np.ogrid[:height, :width, :3]
    pattern: NDArray[np.uint8] = ((37 * x * x + 101 * y + 7 * x * y + 53 * c) % 256).astype("u1")
    return pattern


def cubic(distance: NDArray[np.float64], b: float, c: float) -> NDArray[np.float64]:
    """Mitchell and Netravali's equation 8."""
    x = np.abs(distance)
    near = (12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + (6 - 2 * b)
    far = (-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + 8 * b + 24 * c
    return np.where(x < 1, near, np.where(x < 2, far, 0.0)) / 6


def weights(before: int, after: int) -> NDArray[np.float64]:
    """`[after, before]` by the formula: a filter as wide as the coarser of the two grids."""
    scale = after / before
    b, c = (0.0, 0.5) if scale > 1 else (1 / 3, 1 / 3)
    margin = int(4 / min(scale, 1)) + 4
    source = np.arange(-margin, before + margin)
    centers = (np.arange(after) + 0.5) / scale
    full = cubic((centers[:, None] - (source + 0.5)) * min(scale, 1), b, c)
    full /= full.sum(1, keepdims=True)
    result = np.zeros((after, before))
    for column, at in enumerate(np.clip(source, 0, before - 1)):
        result[:, at] += full[:, column]
    return result


@pytest.mark.parametrize("sizes", GOLDEN, ids=str)
def test_is_stb_to_the_bit(sizes: tuple[int, int, int, int]) -> None:
    width, height, new_width, new_height = sizes
    resized = resize(picture(width, height), new_width, new_height)
    assert resized.shape == (new_height, new_width, 3) and resized.dtype == np.uint8
    assert hashlib.sha256(resized.tobytes()).hexdigest()[:16] == GOLDEN[sizes]


def test_a_small_result_in_full() -> None:
    """GOLDEN: one side shrinks, the other grows."""
    assert resize(picture(4, 3), 2, 5).tolist() == [
        [[27, 80, 133], [100, 153, 214]],
        [[54, 112, 173], [108, 163, 161]],
        [[104, 157, 215], [119, 172, 97]],
        [[176, 167, 142], [113, 146, 148]],
        [[221, 168, 84], [108, 126, 193]],
    ]


SIDES = st.integers(1, 90)


@settings(max_examples=150, deadline=None)
@given(before=st.tuples(SIDES, SIDES), after=st.tuples(SIDES, SIDES), seed=st.integers(0, 2**32))
def test_is_the_published_filter_at_any_size(before: Any, after: Any, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*before, 3), dtype=np.uint8)
    exact = np.einsum(
        "yr,rcn,xc->yxn", weights(before[0], after[0]), pixels, weights(before[1], after[1])
    )
    resized = resize(pixels, after[1], after[0])
    assert np.abs(resized - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-3


@settings(max_examples=100, deadline=None)
@given(
    before=st.tuples(SIDES, SIDES),
    after=st.tuples(SIDES, SIDES),
    color=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_one_colour_stays_that_colour(before: Any, after: Any, color: Any) -> None:
    resized = resize(np.full((*before, 3), color, np.uint8), after[1], after[0])
    assert (resized == np.array(color)).all() and resized.shape == (*after, 3)


def test_a_side_that_keeps_its_length_is_blurred() -> None:
    """GOLDEN has such a side too; here it is seen that the filter is Mitchell's."""
    line = np.zeros((1, 9, 3), np.uint8)
    line[0, 4] = 180
    assert resize(line, 9, 1)[0, :, 0].tolist() == [0, 0, 0, 10, 160, 10, 0, 0, 0]


def test_the_source_is_left_as_it_was() -> None:
    pixels = picture(20, 30)
    resize(pixels, 10, 10)
    assert np.array_equal(pixels, picture(20, 30))
