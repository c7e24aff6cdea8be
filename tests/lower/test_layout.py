"""Stored order against numpy's own transpositions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lower.layout import (
    TO_NCHW,
    TO_NHWC,
    is_order_free,
    stored_array,
    stored_axis,
    stored_permutation,
    stored_shape,
)

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def stored(values: np.ndarray) -> np.ndarray:
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


@given(shape=shapes, data=st.data())
def test_shapes_axes_and_permutations(shape: list[int], data: st.DataObject) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    assert stored_shape(shape) == stored(values).shape
    permutation = data.draw(st.permutations(range(len(shape))))
    np.testing.assert_array_equal(
        stored(values).transpose(stored_permutation(permutation)),
        stored(values.transpose(permutation)),
    )
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    np.testing.assert_array_equal(
        np.flip(stored(values), stored_axis(axis, len(shape))), stored(np.flip(values, axis))
    )


@given(shape=shapes)
def test_order_free_means_that_no_value_moves(shape: list[int]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    moves = (stored(values).reshape(-1) != values.reshape(-1)).any()
    assert not (is_order_free(shape) and moves)
    if len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1:
        assert moves and not is_order_free(shape)


@given(channels=st.integers(1, 4), rank=st.sampled_from([2, 4]))
def test_constants_broadcast_as_before(channels: int, rank: int) -> None:
    full = np.arange(2 * channels * 9 ** (rank // 4)).reshape(
        (2, channels) if rank == 2 else (2, channels, 3, 3)
    )
    shape = {2: (channels,), 4: (channels, 1, 1)}[rank]
    for constant in (np.arange(channels).reshape(shape), np.array(5), np.array([7])):
        np.testing.assert_array_equal(
            stored(full) + stored_array(constant, rank), stored(full + constant)
        )


def test_the_two_orders_undo_each_other() -> None:
    assert [TO_NHWC[axis] for axis in TO_NCHW] == [0, 1, 2, 3]
