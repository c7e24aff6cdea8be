"""Pools: MAX_POOL_2D, AVERAGE_POOL_2D, and MEAN for those over all pixels."""

from typing import TYPE_CHECKING

from pipeline.lower.layout import stored_axis
from pipeline.lower.lowering import Lowering, NoTfliteForm, input_of, static_shape
from pipeline.lower.model_file import Tensor
from pipeline.lower.padding import lowest_integer, padded, surrounded, window_of
from pipeline.lower.rules import FINEST_AVERAGE, require_coarse_result, require_same_scale
from pipeline.lower.shapes import emit_strided_slice
from pipeline.lower.window import Window

if TYPE_CHECKING:
    import onnx_ir as ir


def lower_max_pool(low: Lowering, node: "ir.Node") -> None:
    """The largest value under the window; padding never wins."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise NoTfliteForm(node, "its indices are used")
    source, result, window = _pool(low, node)
    require_same_scale(node, source, result)
    image, padding = padded(low, source, result, window, lowest_integer(source))
    _emit(low, "MAX_POOL_2D", image, result, window, padding)


def lower_average_pool(low: Lowering, node: "ir.Node") -> None:
    """The mean under the window, of the padding too if that counts.

    The kernel rounds it to the input's integers; where the Plan has other ones for the result, they
    are made of those.
    """
    source, result, window = _pool(low, node)
    if source.quantization == result.quantization:
        _average(low, node, source, result, window)
        return
    require_coarse_result(node, [source], result, FINEST_AVERAGE)
    mean = low.between(source, "mean", result.shape, result)
    _average(low, node, source, mean, window)
    low.emit("QUANTIZE", [mean], result, low.schema.QuantizeOptionsT())


def _average(
    low: Lowering, node: "ir.Node", source: Tensor, result: Tensor, window: Window
) -> None:
    if node.attributes.get_int("count_include_pad", 0):
        _average_with_padding(low, node, source, result, window)
    elif window.padding is not None:
        padding = getattr(low.schema.Padding, window.padding)
        _emit(low, "AVERAGE_POOL_2D", source, result, window, padding)
    elif window.rows.is_part_of_same and window.columns.is_part_of_same:
        _average_every_window(low, source, result, window)
    else:
        raise NoTfliteForm(
            node,
            "TFLite leaves padding out of the mean only where it is that of SAME, and this is not",
        )


def lower_global_average(low: Lowering, node: "ir.Node") -> None:
    """GlobalAveragePool, and ReduceMean over rows and columns, as MEAN, which rescales."""
    source, result = low.tensor(input_of(node, 0)), low.result(node)
    rank = len(source.shape)
    axes = {axis % rank for axis in node.attributes.get_ints("axes", (2, 3))}
    if rank != 4 or axes != {2, 3}:
        raise NoTfliteForm(node, "only means over rows and columns are known")
    places = sorted(stored_axis(axis, rank) for axis in axes)
    options = low.schema.ReducerOptionsT(keepDims=len(result.shape) == rank)
    low.emit("MEAN", [source, low.parameter(result, "axes", places)], result, options)


def _pool(low: Lowering, node: "ir.Node") -> tuple[Tensor, Tensor, Window]:
    source = low.tensor(input_of(node, 0))
    if len(static_shape(input_of(node, 0))) != 4:
        raise NoTfliteForm(node, "it does not run over rows and columns")
    result = low.result(node)
    kernel = node.attributes["kernel_shape"].as_ints()
    window = window_of(node, source, result, kernel)
    if window.rows.dilation > 1 or window.columns.dilation > 1:
        raise NoTfliteForm(node, "TFLite has no dilated pools")
    return source, result, window


def _average_with_padding(
    low: Lowering, node: "ir.Node", source: Tensor, result: Tensor, window: Window
) -> None:
    """Zeros that count are put around first: neither SAME nor VALID counts any."""
    axes = (window.rows, window.columns)
    if node.attributes.get_int("ceil_mode", 0) and any(axis.end > axis.begin for axis in axes):
        raise NoTfliteForm(node, "with ceil_mode its windows reach beyond the padding that counts")
    if any(axis.begin or axis.end for axis in axes):
        source = surrounded(low, source, result, window, None)
    _emit(low, "AVERAGE_POOL_2D", source, result, window, low.schema.Padding.VALID)


def _average_every_window(low: Lowering, source: Tensor, result: Tensor, window: Window) -> None:
    """Take all windows there are, with stride 1 and SAME padding, and pick those that are meant."""
    rows, columns = window.rows.every, window.columns.every
    shape = (source.shape[0], rows.out, columns.out, source.shape[3])
    whole = low.between(result, "every", shape, result)
    _emit(low, "AVERAGE_POOL_2D", source, whole, Window(rows, columns), low.schema.Padding.SAME)
    bounds = [
        (axis.shift, axis.shift + (axis.out - 1) * axis.stride + 1, axis.stride)
        for axis in (window.rows, window.columns)
    ]
    emit_strided_slice(low, whole, result, [(0, shape[0], 1), *bounds, (0, shape[3], 1)])


def _emit(
    low: Lowering, kind: str, source: Tensor, result: Tensor, window: Window, padding: int
) -> None:
    options = low.schema.Pool2DOptionsT(
        padding=padding,
        strideH=window.rows.stride,
        strideW=window.columns.stride,
        filterHeight=window.rows.kernel,
        filterWidth=window.columns.kernel,
    )
    low.emit(kind, [source], result, options)
