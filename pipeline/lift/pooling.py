"""Pools: windows that leave padding out of the mean, and MEAN over all pixels."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.lift.lifting import Lifting
from pipeline.lift.padding import window_pads
from pipeline.lift.subgraph import Operator

if TYPE_CHECKING:
    import onnx_ir as ir


def lift_average_pool(lifting: Lifting, operator: Operator) -> "ir.Value":
    return _lift_pool(lifting, operator, "AveragePool", count_include_pad=0)


def lift_max_pool(lifting: Lifting, operator: Operator) -> "ir.Value":
    return _lift_pool(lifting, operator, "MaxPool")


def lift_mean(lifting: Lifting, operator: Operator) -> "ir.Value":
    """MEAN over rows and columns, with their dimensions kept or not."""
    options = lifting.options(operator, "ReducerOptions")
    rank = len(lifting.tensor(operator, 0).shape)
    given = lifting.constant(operator, 1, np.integer).reshape(-1)
    if rank != 4 or sorted(int(axis) % rank for axis in given) != [1, 2]:
        raise lifting.refused(operator, f"it averages over {given.tolist()}, not over the pixels")
    value = lifting.emit("GlobalAveragePool", operator, [lifting.value(operator, 0)])
    return value if options.keepDims else lifting.emit("Flatten", operator, [value], axis=1)


def _lift_pool(lifting: Lifting, operator: Operator, kind: str, **attributes: Any) -> "ir.Value":
    options = lifting.options(operator, "Pool2DOptions")
    kernel = (options.filterHeight, options.filterWidth)
    strides = (options.strideH, options.strideW)
    source = lifting.tensor(operator, 0)
    pads = window_pads(lifting, operator, options.padding, source, kernel, strides)
    return lifting.emit(
        kind, operator, [lifting.value(operator, 0)], kernel_shape=kernel, strides=strides,
        pads=pads, **attributes,
    )  # fmt: skip
