"""Shapes and types of a model that others made, inferred by ONNX.

ONNX computes sizes along the way ("data propagation"), at about a hundred bytes for each integer. So
what a model does to integers is looked at first by shapes alone, and a list that no classifier has
ends in words before it is made.
"""

import math
import re
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_INTEGERS = 1 << 20
"""In a list of sizes or indices."""
_SIZES = ("INT32", "INT64")
_OF_NODE = re.compile(
    r"\(op_type:(?P<operator>\w+), node name: (?P<name>.*?)\): (?:\[\w+\] )?(?P<reason>.*?)"
    r"(?= \(op_type:|$)"
)
"""How ONNX names a node and what is wrong with it; there may be several in a row."""


def infer_shapes(model: "ir.Model") -> None:
    """Infer in place what can be told; a model that does not fit together is left as it is.

    Raises StageError for a node that makes too many integers.
    """
    import onnx_ir.passes.common as passes

    passes.ShapeInferencePass(data_prop=False)(model)
    for node in model.graph:
        for value in node.outputs:
            if value.dtype is not None and value.dtype.name in _SIZES and value.shape is not None:
                count = math.prod(side for side in value.shape if isinstance(side, int))
                if count > MOST_INTEGERS:
                    raise StageError(
                        f"{node.op_type} {node.name or value.name!r} makes {count} integers; "
                        f"up to {MOST_INTEGERS} are computed with"
                    )
    passes.ShapeInferencePass()(model)


def infer_again(model: "ir.Model") -> None:
    """Infer anew, from the input alone."""
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    infer_shapes(model)


def misfit(model: "ir.Model") -> str:
    """What ONNX says of a model whose shapes it cannot tell: which node, and why."""
    import onnx
    import onnx_ir as ir

    named = model.clone()
    for node in named.graph:
        node.name = node.name or node.outputs[0].name
    try:
        onnx.shape_inference.infer_shapes(ir.to_proto(named), check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        said = " ".join(str(error).split())
        found = _OF_NODE.search(said)
        return (
            said if found is None else f"{found['operator']} {found['name']!r}: {found['reason']}"
        )
    return f"the shape of the output {model.graph.outputs[0].name!r} cannot be told"
