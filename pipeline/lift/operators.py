"""A float TFLite file in ONNX's operators: every operator that has a place among them.

A new operator is a function and a line in `OPERATORS`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.input_side import GREY
from pipeline.lift import convolution, elementwise, padding, parts, pooling, shapes
from pipeline.lift.float16 import widen_weights
from pipeline.lift.lifting import Lifting
from pipeline.lift.subgraph import Operator, Subgraph, read_subgraph

if TYPE_CHECKING:
    import onnx_ir as ir

OPERATORS: dict[str, Callable[[Lifting, Operator], "ir.Value | Sequence[ir.Value]"]] = {
    "ADD": elementwise.lift_binary,
    "AVERAGE_POOL_2D": pooling.lift_average_pool,
    "CONCATENATION": shapes.lift_concatenation,
    "CONV_2D": convolution.lift_conv,
    "DEPTHWISE_CONV_2D": convolution.lift_depthwise,
    "FULLY_CONNECTED": convolution.lift_fully_connected,
    "HARD_SWISH": elementwise.lift_hard_swish,
    "LEAKY_RELU": elementwise.lift_leaky_relu,
    "LOGISTIC": elementwise.lift_activation,
    "MAX_POOL_2D": pooling.lift_max_pool,
    "MEAN": pooling.lift_mean,
    "MUL": elementwise.lift_binary,
    "PAD": padding.lift_pad,
    "PADV2": padding.lift_pad,
    "RELU": elementwise.lift_activation,
    "RELU6": elementwise.lift_activation,
    "RELU_N1_TO_1": elementwise.lift_activation,
    "RESHAPE": shapes.lift_reshape,
    "SLICE": parts.lift_slice,
    "SOFTMAX": elementwise.lift_softmax,
    "SPLIT": parts.lift_split,
    "SPLIT_V": parts.lift_split,
    "SQUEEZE": shapes.lift_reshape,
    "STRIDED_SLICE": parts.lift_slice,
    "SUB": elementwise.lift_binary,
    "TANH": elementwise.lift_activation,
    "TRANSPOSE": shapes.lift_transpose,
}


def lift_tflite(content: bytes, where: str) -> "ir.Model":
    """A float classifier as ONNX of opset 13, input `[batch, 3, H, W]`, which `graph/foreign.py`
    makes the canonical Graph.

    Raises StageError, naming operator and place, for what has no place in it.
    """
    import onnx_ir as ir

    subgraph = widen_weights(read_subgraph(content, where))
    _require_classifier(subgraph, where)
    needed = _needed(subgraph)
    _require_known(subgraph, needed, where)
    lifting = Lifting(subgraph, where)
    for operator in needed:
        _require_float(lifting, operator)
        made = OPERATORS[operator.kind](lifting, operator)
        if isinstance(made, ir.Value):
            value = elementwise.lift_fused(lifting, operator, made)
            lifting.set(lifting.result(operator), value)
            continue
        for tensor, value in zip(lifting.results(operator), made, strict=True):
            lifting.set(tensor, value)
    return lifting.model(subgraph.outputs[0])


def _require_classifier(subgraph: Subgraph, where: str) -> None:
    ends = (*subgraph.inputs, *subgraph.outputs)
    if len(ends) != 2 or any(tensor.dtype != "float32" for tensor in ends):
        raise StageError(
            f"has {len(subgraph.inputs)} inputs and {len(subgraph.outputs)} outputs of "
            f"{', '.join(tensor.dtype for tensor in ends)}; one float32 image and one row of float32 "
            "scores are needed",
            where=where,
        )
    image, scores = ends
    if len(image.shape) != 4 or image.shape[3] != 3 or min(image.shape) < 1:
        raise StageError(
            f"its input is {list(image.shape)}; an image stored as [batch, height, width, 3] is "
            "needed",
            where=where,
            hint=GREY
            if image.shape[3:] == (1,)
            else "models whose channels come first are brought as ONNX",
        )
    is_row = len(scores.shape) == 2 or (len(scores.shape) == 4 and scores.shape[1:3] == (1, 1))
    if not is_row or scores.shape[0] != image.shape[0] or scores.index == image.index:
        raise StageError(
            f"its output is {list(scores.shape)}; a row of scores for each of the {image.shape[0]} "
            "images is needed",
            where=where,
        )


def _needed(subgraph: Subgraph) -> list[Operator]:
    """The operators that the scores depend on. What computes the shape of a RESHAPE is left out: the
    file says the shape as well."""
    wanted = {tensor.index for tensor in subgraph.outputs}
    kept = []
    for operator in reversed(subgraph.operators):
        if wanted.intersection(operator.outputs):
            wanted.update(operator.inputs[:1] if operator.kind == "RESHAPE" else operator.inputs)
            kept.append(operator)
    return kept[::-1]


def _require_known(subgraph: Subgraph, operators: list[Operator], where: str) -> None:
    """Everything that has no place, at once."""
    unknown = [operator for operator in operators if operator.kind not in OPERATORS]
    if unknown:
        shown = "; ".join(subgraph.place_of(operator) for operator in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise StageError(
            f"no place in the float Graph for {shown}{more}",
            where=where,
            hint=f"known are {', '.join(OPERATORS)}",
        )


def _require_float(lifting: Lifting, operator: Operator) -> None:
    """What an operator makes is float32, and so is what it works on, which others made."""
    for tensor in lifting.results(operator):
        if tensor.dtype != "float32":
            raise lifting.refused(
                operator, f"{tensor.name!r} is {tensor.dtype}; a float model is needed"
            )
