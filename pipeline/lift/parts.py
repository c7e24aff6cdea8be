"""Operators that take a tensor apart: SPLIT and SPLIT_V, SLICE and STRIDED_SLICE."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.lift.layout import onnx_axis
from pipeline.lift.lifting import Lifting
from pipeline.lift.subgraph import Operator

if TYPE_CHECKING:
    import onnx_ir as ir

_SPLIT_PLACES = {"SPLIT": (1, 0), "SPLIT_V": (0, 2)}
"""Which input is taken apart, and which says the dimension."""
Bounds = tuple[int, int, int]
"""Begin, end and step along one dimension."""


def lift_split(lifting: Lifting, operator: Operator) -> "list[ir.Value]":
    """SPLIT and SPLIT_V, into parts as long as the file says that the results are."""
    place, axis_place = _SPLIT_PLACES[operator.kind]
    shape, results = lifting.tensor(operator, place).shape, lifting.results(operator)
    rank, given = len(shape), lifting.constant(operator, axis_place, np.integer).reshape(-1)
    if given.size != 1 or not -rank <= given[0] < rank or given[0] % rank == 0:
        raise lifting.refused(operator, f"it splits along {given.tolist()} of {rank} dimensions")
    axis = int(given[0]) % rank
    sides = [part.shape[axis] for part in results if len(part.shape) == rank]
    if len(sides) != len(results) or sum(sides) != shape[axis]:
        shapes = [list(part.shape) for part in results]
        raise lifting.refused(operator, f"it makes {shapes} out of {list(shape)}")
    inputs = [lifting.value(operator, place), lifting.store(np.array(sides, np.int64))]
    return lifting.emit_several("Split", operator, inputs, len(results), axis=onnx_axis(axis, rank))


def lift_slice(lifting: Lifting, operator: Operator) -> "ir.Value":
    """SLICE and STRIDED_SLICE with constant bounds and steps forward, of every image alike."""
    shape = lifting.tensor(operator, 0).shape
    whole = [(0, side, 1) for side in shape]
    read = _slice_bounds if operator.kind == "SLICE" else _strided_bounds
    bounds = read(lifting, operator, shape)
    bounds += whole[len(bounds) :]
    if bounds[0] != whole[0]:
        raise lifting.refused(operator, "it leaves images of the batch out")
    if not all(0 <= begin < end <= whole[axis][1] for axis, (begin, end, _) in enumerate(bounds)):
        raise lifting.refused(operator, f"it takes {bounds} out of {list(shape)}")
    rank = len(shape)
    cut = [axis for axis in range(1, rank) if bounds[axis] != whole[axis]] or [rank - 1]
    columns = [[bounds[axis][index] for axis in cut] for index in range(3)]
    starts, ends, steps = (lifting.store(np.array(column, np.int64)) for column in columns)
    axes = lifting.store(np.array([onnx_axis(axis, rank) for axis in cut], np.int64))
    return lifting.emit("Slice", operator, [lifting.value(operator, 0), starts, ends, axes, steps])


def _slice_bounds(lifting: Lifting, operator: Operator, shape: tuple[int, ...]) -> list[Bounds]:
    """Of SLICE, which says where it begins and how much it takes, -1 for all that is left."""
    begins, sizes = _rows(lifting, operator, (1, 2), len(shape))
    return [
        (begin, side if size == -1 else begin + size, 1)
        for begin, size, side in zip(begins, sizes, shape, strict=False)
    ]


def _strided_bounds(lifting: Lifting, operator: Operator, shape: tuple[int, ...]) -> list[Bounds]:
    """Of STRIDED_SLICE, whose masks say, a bit for each dimension, where a bound does not count."""
    options = lifting.options(operator, "StridedSliceOptions")
    if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask or options.offset:
        raise lifting.refused(
            operator, "it adds or takes away dimensions, or counts from where it begins"
        )
    begins, ends, steps = _rows(lifting, operator, (1, 2, 3), len(shape))
    if min(steps) < 1:
        raise lifting.refused(operator, f"its steps are {steps}; only steps forward are known")
    return [
        slice(
            None if options.beginMask >> axis & 1 else begins[axis],
            None if options.endMask >> axis & 1 else ends[axis],
            step,
        ).indices(shape[axis])
        for axis, step in enumerate(steps)
    ]


def _rows(
    lifting: Lifting, operator: Operator, places: tuple[int, ...], rank: int
) -> list[list[int]]:
    """Constant inputs of a number for each dimension, or each of the first ones."""
    rows = [lifting.constant(operator, place, np.integer).reshape(-1).tolist() for place in places]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or not 1 <= len(rows[0]) <= rank:
        raise lifting.refused(operator, f"its bounds {rows} are not those of {rank} dimensions")
    return rows
