"""Padding that a node computes from its input's size, written out as numbers.

Sizes are fixed in the Graph, so `auto_pad` says nothing that `pads` cannot, and what reads windows
has one form to know. ONNX's operators Conv, MaxPool and AveragePool, attribute auto_pad.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir

WINDOWED = ("Conv", "MaxPool", "AveragePool")


def write_out_pads(graph: "ir.Graph") -> None:
    """Put `pads` in the place of `auto_pad`, in place.

    Raises StageError where the size that SAME is about is unknown.
    """
    import onnx_ir as ir

    for node in graph:
        word = node.attributes.get_string("auto_pad", "NOTSET")
        if node.op_type not in WINDOWED or word == "NOTSET":
            continue
        kernel = _kernel(node)
        sizes = _sizes(node, len(kernel)) if word != "VALID" else [0] * len(kernel)
        ones = [1] * len(kernel)
        strides = node.attributes.get_ints("strides", ones)
        dilations = node.attributes.get_ints("dilations", ones)
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = pads_of(word, list(zip(sizes, extents, strides, strict=True)))
        begins, ends = zip(*pads, strict=True)
        node.attributes["pads"] = ir.AttrInt64s("pads", [*begins, *ends])
        del node.attributes["auto_pad"]


def pads_of(word: str, axes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Padding before and behind, for every axis of `(size, extent, stride)`, of ONNX's words but
    NOTSET. SAME takes as much as `ceil(size / stride)` results need, and its UPPER puts the smaller half
    before, as TFLite does."""
    if word == "VALID":
        return [(0, 0) for _ in axes]
    pads = []
    for size, extent, stride in axes:
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if word == "SAME_UPPER" else (large, small))
    return pads


def _kernel(node: "ir.Node") -> list[int]:
    given = node.attributes.get_ints("kernel_shape", ())
    weight = node.inputs[1] if node.op_type == "Conv" else None
    if given or weight is None or weight.shape is None:
        return _known(node, given, "kernel")
    return _known(node, weight.shape[2:], "kernel")


def _sizes(node: "ir.Node", rank: int) -> list[int]:
    value = node.inputs[0]
    shape = () if value is None or value.shape is None else value.shape[2:]
    sizes = _known(node, shape, "input")
    if len(sizes) != rank:
        raise StageError(f"{node.op_type} {_name(node)}: its kernel and its input do not fit")
    return sizes


def _known(node: "ir.Node", sizes: Sequence[object], what: str) -> list[int]:
    found = [size for size in sizes if isinstance(size, int)]
    if not found or len(found) != len(sizes):
        raise StageError(
            f"{node.op_type} {_name(node)} has auto_pad, and the size of its {what} is unknown",
            hint="export the model with fixed sizes, or with pads as numbers",
        )
    return found


def _name(node: "ir.Node") -> str:
    return repr(node.name or node.outputs[0].name)
