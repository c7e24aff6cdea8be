"""Functions of a model's own, written out where they are called."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx_ir import OperatorIdentifier

LARGEST = 100_000
"""Nodes of a model; a function that calls another twice, and so on, doubles them each time."""


def inline_functions(model: "ir.Model") -> None:
    """Write them out, in place. Raises StageError where that has no end, or too many nodes."""
    import onnx_ir.passes.common as passes

    sizes: dict[OperatorIdentifier, int] = {}
    total = sum(_size(node, model.functions, sizes, ()) for node in model.graph)
    if total > LARGEST:
        raise StageError(f"has more than {LARGEST} nodes once its functions are written out")
    passes.InlinePass()(model)


def _size(
    node: "ir.Node",
    functions: "Mapping[OperatorIdentifier, ir.Function]",
    sizes: "dict[OperatorIdentifier, int]",
    callers: "tuple[OperatorIdentifier, ...]",
) -> int:
    """How many nodes a node stands for; `sizes` are those of the functions known so far."""
    name = node.op_identifier()
    function = functions.get(name)
    if function is None:
        return 1
    if name in callers:
        raise StageError(f"its function {name[1]!r} calls itself")
    if name not in sizes:
        sizes[name] = sum(_size(part, functions, sizes, (*callers, name)) for part in function)
    return sizes[name]
