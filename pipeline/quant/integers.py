"""The integers that a Plan makes of weights and biases, the same for every rendering."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.quant.plan import BiasPlan, TensorPlan, weight_type
from pipeline.quant.scheme import along, quantize

INT32_LIMIT = 2**31 - 1


def weight_integers(real: NDArray[np.float32], tensor: TensorPlan) -> NDArray[np.generic]:
    """A constant tensor in its planned type; its axis counts the dimensions of `real`."""
    type = weight_type(tensor.data_type)
    scale = along(np.array(tensor.scale), tensor.axis, real.ndim)
    zero_point = along(np.array(tensor.zero_point, np.float64), tensor.axis, real.ndim)
    return quantize(real, scale, zero_point, type).astype(type.dtype)


def bias_integers(
    real: NDArray[np.float32] | None, channels: int, bias: BiasPlan, node: str
) -> NDArray[np.int32]:
    """The int32 bias `[channels]` of a node, its correction added before rounding; zeros where it
    has neither. Raises StageError where it does not fit."""
    values = np.zeros(channels) if real is None else np.asarray(real, np.float64).reshape(-1)
    if bias.correction is not None:
        values = values + np.array(bias.correction)
    steps = np.rint(values / np.array(bias.scale))
    if np.abs(steps).max(initial=0.0) > INT32_LIMIT:
        raise StageError(f"the bias of {node} does not fit into int32 at its scale")
    return np.asarray(steps, np.int32)
