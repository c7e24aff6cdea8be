"""Where a tensor's values lie: ONNX counts N, C, H, W; TFLite stores four dimensions as N, H, W, C.

Tensors of any other number of dimensions are stored as ONNX counts them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)


def order(rank: int) -> tuple[int, ...]:
    """For every stored dimension, which of ONNX's it is."""
    return TO_NHWC if rank == 4 else tuple(range(rank))


def stored_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape in the file of a tensor that ONNX gives this shape."""
    return tuple(shape[axis] for axis in order(len(shape)))


def stored_axis(axis: int, rank: int) -> int:
    """The stored dimension of ONNX's `axis`, which may count from the end."""
    return order(rank).index(axis % rank)


def stored_permutation(permutation: Sequence[int]) -> tuple[int, ...]:
    """What ONNX's transposition is to stored dimensions."""
    positions = order(len(permutation))
    return tuple(positions.index(permutation[axis]) for axis in positions)


def stored_array(values: NDArray[Any], rank: int) -> NDArray[Any]:
    """A constant that is broadcast against tensors of `rank` dimensions, as it is stored."""
    full = values.reshape((1,) * (rank - values.ndim) + values.shape)
    return np.ascontiguousarray(full.transpose(order(rank)))


def is_order_free(shape: Sequence[int]) -> bool:
    """Whether values of ONNX's `shape` lie in the same order however they are stored: all but
    feature maps that have both channels and pixels."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1
