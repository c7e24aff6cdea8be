"""Numbers and digests marked GOLDEN are what SyNAP's runtime (github.com/synaptics-synap/runtime,
5f7961c) assigned to a tensor with that meta from a PNG that has every byte in each channel, compiled
by GCC 12.2 for aarch64 with -O2 and run under QEMU 7.2. A digest is the first half of the sha256 of
the tensor in channel order."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.device_input import float_table, integer_table
from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.quant.input_range import plan_input

BYTES = [0, 1, 2, 100, 127, 128, 200, 255]
COPIED = [BYTES] * 3
HALF = (127.5, 127.5, 127.5)
IMAGENET = (123.675, 116.28, 103.53)

INTEGERS: list[tuple[str, float, int, Sequence[float], float, list[list[int]], str]] = [
    ("uint8", 1 / 127.5, 127, HALF, 127.5, COPIED, "f3a25aa93aa2fbba"),
    ("uint8", 1 / 127.5, 128, HALF, 127.5, COPIED, "f3a25aa93aa2fbba"),
    ("uint8", 0.00785, 127, HALF, 127.5, COPIED, "f3a25aa93aa2fbba"),
    ("uint8", 1 / 127.5, 0, (), 0, COPIED, "f3a25aa93aa2fbba"),
    (
        *("uint8", 0.0079, 127, HALF, 127.5),
        [[1, 2, 3, 100, 127, 128, 199, 254]] * 3,
        "dce37c469adade19",
    ),
    (
        *("uint8", 0.0186584, 114, IMAGENET, 57.375),
        [
            [0, 0, 1, 93, 118, 119, 186, 237],
            [6, 7, 8, 99, 124, 125, 192, 244],
            [18, 19, 20, 111, 136, 137, 205, 255],
        ],
        "d0140777976c71ed",
    ),
    (
        *("int8", 0.0186584, -14, IMAGENET, 57.375),
        [
            [-128, -127, -126, -34, -9, -8, 58, 109],
            [-121, -120, -119, -28, -3, -2, 64, 116],
            [-109, -108, -107, -16, 8, 9, 77, 127],
        ],
        "193a5aafacec7bbe",
    ),
    (
        *("int8", 1 / 127.5, -1, HALF, 127.5),
        [[-128, -127, -126, -28, -1, 0, 72, 127]] * 3,
        "e8fd3600f120f435",
    ),
    (
        *("int8", 1 / 127.5, 0, HALF, 127.5),
        [[-127, -126, -125, -27, 0, 1, 73, 127]] * 3,
        "9b678f1e3dffa4a2",
    ),
    (
        *("int8", 1 / 127.5, 0, (), 0),
        [[0, 1, 2, 100, 127, -128, -56, -1]] * 3,
        "f3a25aa93aa2fbba",
    ),
    (
        *("uint8", 1 / 127.5, 124, (123.7, 123, 123.2), 127.5),
        [BYTES, [1, 2, 3, 101, 128, 129, 201, 255], BYTES],
        "ae4cbd94448331bd",
    ),
    (
        *("uint8", 1 / 127.5, 124, (123, 123.7, 123.2), 127.5),
        [[1, 2, 3, 101, 128, 129, 201, 255]] * 3,
        "71c24653e6441b21",
    ),
    (
        *("uint8", 0.02, 3, (0.485, 0.456, 0.406), 50.5),
        [[3, 4, 5, 102, 129, 130, 201, 255]] * 3,
        "b5804907bb565acc",
    ),
    (
        *("uint8", 0, 0, (10, 20, 30), 1),
        [
            [0, 0, 0, 90, 117, 118, 190, 245],
            [0, 0, 0, 80, 107, 108, 180, 235],
            [0, 0, 0, 70, 97, 98, 170, 225],
        ],
        "c8f9f70470f62a0f",
    ),
]
FLOATS: list[tuple[Sequence[float], float, list[float], str]] = [
    (HALF, 127.5, [-1.0, -0.9921568632125854, 1.0], "9a7040160ad32cf8"),
    (
        *(IMAGENET, 57.375),
        [-2.1555557250976562, -2.1381263732910156, 2.288888931274414],
        "0ea4b2e120dafc93",
    ),
    ((0.485, 0.456, 0.406), 0.5, [0.0, 2.0, 510.0], "73fdfcf2d2db7ac8"),
    ((), 0, [0.0, 1.0, 255.0], "e72cbab7d96b2cd4"),
    ((-0.5, 1.5, 0.25), 2.0, [0.25, 0.75, 127.75], "2452a16b54ae7cd2"),
]


def digest(table: "np.ndarray[Any, Any]") -> str:
    return hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("case", INTEGERS, ids=lambda case: str(case[:5]))
def test_integers_are_the_runtimes(case: Any) -> None:
    data_type, step, zero_point, means, scale, expected, golden = case
    table = integer_table(data_type, step, zero_point, means, scale)
    assert table.shape == (3, 256) and table.dtype == np.dtype(data_type)
    assert table[:, BYTES].tolist() == expected
    assert digest(table) == golden


@pytest.mark.parametrize("case", FLOATS, ids=lambda case: str(case[:2]))
def test_floats_are_the_runtimes(case: Any) -> None:
    means, scale, expected, golden = case
    table = float_table(means, scale)
    assert table.shape == (3, 256) and table.dtype == np.float32
    assert table[0, [0, 1, 255]].tolist() == expected
    assert digest(table) == golden


@given(byte_mean=st.integers(0, 255), half=st.booleans(), std=st.floats(0.05, 2.0))
def test_the_plans_input_is_copied_whatever_the_deviation(
    byte_mean: int, half: bool, std: float
) -> None:
    """What `plan_input` promises of channels that share a mean and a deviation."""
    mean = min(byte_mean + half / 2, 255.0)
    normalization = Normalization(mean=(mean / 255,) * 3, std=(std,) * 3)
    tensor = plan_input(normalization, "uint8", "asymmetric_affine", absorbs=True).tensor
    means = [round(255 * (mean / 255), 6)] * 3
    table = integer_table("uint8", tensor.scale[0], tensor.zero_point[0], means, 255 * std)
    assert (table == np.arange(256)).all()


MEANS = st.tuples(*[st.floats(-300, 300, width=32)] * 3)


@given(
    data_type=st.sampled_from(["uint8", "int8"]),
    means=MEANS,
    scale=st.floats(0.5, 300),
    step=st.floats(1e-3, 1.0),
    zero_point=st.integers(-128, 255),
)
def test_integers_are_never_far_from_what_the_meta_means(
    data_type: Any, means: tuple[float, float, float], scale: float, step: float, zero_point: int
) -> None:
    """A cut mean, a half rounded up, and the shortcut cost: 1, 1 and 1 of 256 at most."""
    if all(math.trunc(mean) == means[0] for mean in means):
        return  # one mean for all may be copied beyond int8
    table = integer_table(data_type, step, zero_point, means, scale)
    assert (np.diff(table.astype(int), axis=1) >= 0).all()
    factor = scale * step
    meant = (np.arange(256) - np.array(means)[:, None]) / factor + zero_point
    limits = np.iinfo(data_type)
    far = np.abs(table - np.clip(meant, limits.min, limits.max))
    assert far.max() <= 1 / factor + 1 + 555 / 256 + 0.01


@given(means=MEANS, scale=st.floats(0.01, 300))
def test_floats_are_what_the_meta_means(means: tuple[float, float, float], scale: float) -> None:
    if all(abs(mean) < 1 for mean in means):
        means = (0.0, 0.0, 0.0)
    meant = (np.arange(256) - np.array(means)[:, None]) / scale
    np.testing.assert_allclose(float_table(means, scale), meant, rtol=1e-5, atol=1e-4 / scale)


@pytest.mark.parametrize("means", [(1.0, 2.0), (1.0,) * 4])
def test_a_wrong_number_of_means_is_refused(means: Sequence[float]) -> None:
    with pytest.raises(StageError, match=f"{len(means)} means for 3 channels"):
        integer_table("uint8", 0.02, 3, means, 1)
    with pytest.raises(StageError, match=f"{len(means)} means for 3 channels"):
        float_table(means, 1)


def test_one_mean_that_the_runtime_would_read_beyond_is_refused() -> None:
    with pytest.raises(StageError, match="beyond its list"):
        integer_table("uint8", 1 / 127.5, 127, [127.5], 127.5)
    with pytest.raises(StageError, match="beyond its list"):
        float_table([127.0], 127.5)
    whole = integer_table("uint8", 1 / 58.0, 3, [127], 57.0)
    assert np.array_equal(whole, integer_table("uint8", 1 / 58.0, 3, [127] * 3, 57.0))
    assert np.array_equal(float_table([0.5], 2), float_table((), 2))


@pytest.mark.parametrize("number", [math.nan, math.inf, -1e39])
def test_numbers_have_to_be_finite(number: float) -> None:
    for call in (
        lambda: integer_table("uint8", number, 0),
        lambda: integer_table("uint8", 1.0, 0, [number] * 3),
        lambda: integer_table("uint8", 1.0, 0, HALF, number),
        lambda: float_table([number] * 3),
        lambda: float_table(HALF, number),
    ):
        with pytest.raises(StageError, match="finite"):
            call()


def test_scales_that_float32_cannot_hold_are_refused() -> None:
    for extreme in (1e-30, 1e30, 1e-46):
        with pytest.raises(StageError, match="no float32 number"):
            integer_table("uint8", extreme, 0, HALF, extreme)
    with pytest.raises(StageError, match="no float32 number"):
        float_table(HALF, 1e-60)
