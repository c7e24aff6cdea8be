"""Gemm as a layer that everything behind can read: `x W + b` or `x W^T + b`, without further factors.

ONNX's Gemm is `alpha A B + beta C`, with A and B transposed at will. PyTorch and TensorFlow write alpha
and beta as 1; scikit-learn's and hand-written files may not.
"""

from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import onnx_ir as ir


def has_factors(node: "ir.Node") -> bool:
    """Whether alpha or beta is not 1."""
    return node.op_type == "Gemm" and _factors(node) != (1.0, 1.0)


def fold_gemm_factors(graph: "ir.Graph") -> None:
    """Multiply alpha into constant weights and beta into constant biases, in place. Raises StageError
    for a Gemm whose factors meet what is computed, or whose images stand in columns."""
    for node in list(graph):
        if node.op_type != "Gemm":
            continue
        if node.attributes.get_int("transA", 0):
            raise StageError(
                f"Gemm {node.name or node.outputs[0].name!r} reads its input transposed, so that images "
                "stand in its columns",
                hint="export the model with a row for each image",
            )
        if not has_factors(node):
            continue
        for place, factor in zip((1, 2), _factors(node), strict=True):
            if factor != 1.0 and place < len(node.inputs) and node.inputs[place] is not None:
                _scale(graph, node, place, factor)
        for name in ("alpha", "beta"):
            node.attributes.pop(name, None)


def _factors(node: "ir.Node") -> tuple[float, float]:
    return node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)


def _scale(graph: "ir.Graph", node: "ir.Node", place: int, factor: float) -> None:
    import numpy as np

    value = node.inputs[place]
    assert value is not None
    if value.const_value is None:
        raise StageError(
            f"Gemm {node.name or node.outputs[0].name!r} multiplies {value.name!r}, which is computed, by "
            f"{factor:g}",
            hint="write that factor as a Mul, or multiply it into the weights",
        )
    scaled = np.asarray(value.const_value.numpy()) * np.float32(factor)
    name = fresh_name(graph, f"{value.name}_scaled")
    node.replace_input_with(place, add_initializer(graph, name, scaled.astype(np.float32)))
