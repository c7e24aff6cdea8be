"""From stored dimensions to ONNX's: four are stored N, H, W, C and become N, C, H, W.

The inverse of `lower/layout.py`; tensors of any other number of dimensions stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.lower.layout import TO_NCHW, order


def onnx_order(rank: int) -> tuple[int, ...]:
    """For every dimension of ONNX's, which stored one it is."""
    return TO_NCHW if rank == 4 else tuple(range(rank))


def onnx_shape(stored: Sequence[int]) -> tuple[int, ...]:
    """ONNX's shape of a tensor that is stored with this one."""
    return tuple(stored[axis] for axis in onnx_order(len(stored)))


def onnx_axis(axis: int, rank: int) -> int:
    """ONNX's number of a stored dimension, which may count from the end."""
    return order(rank)[axis % rank]


def onnx_array(values: NDArray[Any], rank: int) -> NDArray[Any]:
    """A stored constant that is broadcast against tensors of `rank` dimensions, as ONNX counts."""
    full = values.reshape((1,) * (rank - values.ndim) + values.shape)
    return np.ascontiguousarray(full.transpose(onnx_order(rank)))
