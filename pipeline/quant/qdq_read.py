"""Take QuantizeLinear and DequantizeLinear out of a model, and keep what they said.

What is left is the float model that was quantized, its weights rounded as they were; what they said
is the grid of every tensor that had one. Nothing is judged here.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import onnx_ir as ir

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MICROSOFT = "com.microsoft"
KNOWN = ("uint8", "int8", "int32")
EIGHT_BITS = "quantize activations and weights to 8 bits, or give the float model"
_INTEGER_KERNELS = ("QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm")


@dataclass(frozen=True, eq=False)
class Grid:
    """`real = scale * (integer - zero_point)`: one of each, or one for every index of `axis`."""

    dtype: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int | None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and (self.dtype, self.axis) == (other.dtype, other.axis)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def _along(self, values: NDArray[Any], ndim: int) -> NDArray[Any]:
        if self.axis is None:
            return values.reshape(())
        shape = [1] * ndim
        shape[self.axis] = -1
        return values.reshape(shape)

    def real(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        """What DequantizeLinear gives, to the bit."""
        steps = integers.astype(np.int64) - self._along(self.zero_point, integers.ndim)
        return np.asarray(steps.astype(np.float32) * self._along(self.scale, integers.ndim))

    def integers(self, real: NDArray[np.float32]) -> NDArray[np.int64]:
        """What QuantizeLinear gives."""
        ends = np.iinfo(self.dtype)
        steps = np.rint(real / self._along(self.scale, real.ndim))
        steps = steps + self._along(self.zero_point, real.ndim)
        return np.asarray(np.clip(steps, ends.min, ends.max), np.int64)


@dataclass(frozen=True)
class Stored:
    """A constant that was stored as integers."""

    grid: Grid
    integers: NDArray[Any]


@dataclass(frozen=True)
class Grids:
    """What was said, by the float values that it was said of."""

    activations: "dict[ir.Value, Grid]" = field(default_factory=dict)
    constants: "dict[ir.Value, Stored]" = field(default_factory=dict)


def is_quantized(graph: "ir.Graph") -> bool:
    """Whether a model has integers in it, as QDQ."""
    return any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in graph)


def as_onnx_pairs(graph: "ir.Graph") -> None:
    """Write ONNX Runtime's own QuantizeLinear and DequantizeLinear as ONNX's, which they equal.

    Raises StageError for integers of other widths, of which opset 13 does not know.
    """
    for node in graph:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            zero = node.inputs[2] if len(node.inputs) > 2 else None
            if zero is not None and zero.dtype is not None:
                _require_known(node, zero.dtype.name.lower())
            if node.domain == MICROSOFT:
                node.domain = ""


def _require_known(node: "ir.Node", dtype: str) -> None:
    if dtype not in KNOWN:
        raise StageError(
            f"{_named(node)} is of {dtype}; known are {', '.join(KNOWN)}", hint=EIGHT_BITS
        )


def refuse_integer_operators(graph: "ir.Graph", where: str) -> None:
    """Raises StageError for operators that compute on integers themselves (QOperator format)."""
    for node in graph:
        if node.op_type.startswith(_INTEGER_KERNELS):
            raise StageError(
                f"{node.op_type} {node.name or node.outputs[0].name!r} computes on integers, so how "
                "its neighbours were quantized cannot be told apart from what it does",
                where=where,
                hint="quantize with onnxruntime's quantize_static and quant_format=QuantFormat.QDQ, or "
                "give the float model",
            )


def strip_pairs(graph: "ir.Graph") -> Grids:
    """Take them out in place. Raises StageError, naming the tensor, where that would change what is
    computed: a tensor on two grids, or integers that something else reads."""
    import onnx_ir as ir

    found = Grids()
    for node in list(graph):
        if node.op_type == QUANTIZE:
            value = node.inputs[0]
            assert value is not None
            grid = _grid(node, None)
            readers = [use.node for use in node.outputs[0].uses()]
            strange = [reader for reader in readers if reader.op_type != DEQUANTIZE]
            if strange or node.outputs[0].is_graph_output():
                what = "are the result" if not strange else f"are read by {_named(strange[0])}"
                raise StageError(f"the integers of {value.name!r} {what}, not by DequantizeLinear")
            if any(_grid(reader, grid.dtype) != grid for reader in readers):
                raise StageError(
                    f"{value.name!r} is dequantized by other scales than it is quantized"
                )
            if value.const_value is not None:
                integers = grid.integers(np.asarray(value.const_value.numpy(), np.float32))
                for reader in readers:
                    _store(graph, reader, value.name or "", Stored(grid, integers), found)
            else:
                if found.activations.setdefault(value, grid) != grid:
                    raise StageError(f"{value.name!r} is quantized twice, by different scales")
                for reader in readers:
                    ir.convenience.replace_all_uses_with(
                        reader.outputs[0], value, replace_graph_outputs=True
                    )
                    graph.remove(reader, safe=True)
            graph.remove(node, safe=True)
        elif node.op_type == DEQUANTIZE and node.graph is graph:
            stored = node.inputs[0]
            assert stored is not None
            if stored.const_value is not None:
                integers = stored.const_value.numpy()
                grid = _grid(node, stored.const_value.dtype.name.lower())
                _store(graph, node, stored.name or "", Stored(grid, integers), found)
            elif stored.producer() is None or stored.producer().op_type != QUANTIZE:  # type: ignore[union-attr]
                raise StageError(f"{_named(node)} reads integers that no QuantizeLinear made")
    return found


def _store(graph: "ir.Graph", node: "ir.Node", name: str, stored: Stored, found: Grids) -> None:
    """Put the real numbers of a constant where a DequantizeLinear gave them, one for each reader."""
    real = stored.grid.real(np.asarray(stored.integers))
    for use in list(node.outputs[0].uses()):
        constant = add_initializer(graph, fresh_name(graph, f"{name}_real"), real)
        use.node.replace_input_with(use.idx, constant)
        found.constants[constant] = stored
    graph.remove(node, safe=True)


def _grid(node: "ir.Node", dtype: str | None) -> Grid:
    """What a node says; `dtype` is the integers' type where it has no zero point to say it."""
    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    if (
        scale is None
        or scale.const_value is None
        or (zero is not None and zero.const_value is None)
    ):
        raise StageError(f"the scale or the zero point of {_named(node)} is not constant")
    scales = np.asarray(scale.const_value.numpy(), np.float32)
    if scales.ndim > 1:
        raise StageError(f"{_named(node)} has a scale for every block of values")
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise StageError(f"{_named(node)} has a scale that is not positive")
    count = scales.size
    zeros = np.zeros(count, np.int64)
    if zero is not None and zero.const_value is not None:
        dtype = zero.const_value.dtype.name.lower()
        zeros = np.asarray(zero.const_value.numpy(), np.int64).reshape(-1)
    if dtype is not None:
        _require_known(node, dtype)
    if len(zeros) != count:
        raise StageError(f"{_named(node)} has {count} scales and {len(zeros)} zero points")
    axis = None
    if count > 1:
        value = node.inputs[0]
        axis = node.attributes.get_int("axis", 1)
        if axis < 0:
            if value is None or value.shape is None:
                raise StageError(f"{_named(node)} counts its axis from the end of an unknown shape")
            axis += len(value.shape)
    return Grid(dtype or "uint8", scales.reshape(-1), zeros, axis)


def _named(node: "ir.Node") -> str:
    return f"{node.op_type} {node.name or node.outputs[0].name!r}"
