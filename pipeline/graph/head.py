"""The end of a model that others made: a row of logits `[batch, classes]`.

A Softmax, LogSoftmax or Sigmoid at the end goes. It keeps the order of an image's classes, but squeezes
the logits, by which everything here is measured, into a few steps of 8 bits. What follows it and only
gives its numbers another shape or precision goes with it. Where more is computed from the scores they
have to stay, and that is said.
"""

import math
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.inference import misfit

if TYPE_CHECKING:
    import onnx_ir as ir

SCORES = ("Softmax", "LogSoftmax", "Sigmoid")
PAIR = ("QuantizeLinear", "DequantizeLinear")
"""A quantized model's scores are quantized."""
CARRIED = ("Cast", "Identity", *PAIR)
RESHAPED = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
COMPUTED = ("Add", "Clip", "Div", "Exp", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Sqrt", "Sub")
"""What may follow scores that stay; looked through only to say so."""


def strip_scores(model: "ir.Model", named: "set[str | None]") -> tuple[str | None, str | None]:
    """Take scores from the end, in place: the operator that went, and the one that had to stay, with
    what follows it. Shapes have to be inferred before. The logits have to be one of the tensors
    `named`, by which the model as it came knows them."""
    import onnx_ir.passes.common as passes

    graph = model.graph
    node, last = _behind(graph.outputs[0], (*CARRIED, *RESHAPED))
    logits = None if node is None or not node.inputs else node.inputs[0]
    if node is not None and node.op_type in SCORES and logits is not None:
        if logits.producer() is None:
            return None, None
        if (
            logits.name in named
            and _is_row(node, logits, model.opset_imports.get("", 0))
            and (last is None or _is_same_row(graph.outputs[0], logits))
        ):
            graph.outputs[0] = logits
            passes.RemoveUnusedNodesPass()(model)
            return node.op_type, None
        return None, _kept(node, last)
    node, last = _behind(graph.outputs[0], (*CARRIED, *RESHAPED, *COMPUTED))
    stays = node is not None and node.op_type in SCORES[:2] and last is not None
    return None, _kept(node, last) if stays else None


def _behind(value: "ir.Value", through: tuple[str, ...]) -> "tuple[ir.Node | None, ir.Node | None]":
    """The last node that is none of these, and the one of them behind it that does more than carry
    its numbers on."""
    node, last = value.producer(), None
    while node is not None and node.op_type in through and not _counts(node):
        computed = [v for v in node.inputs if v is not None and v.const_value is None]
        # An operator of two results of the image is no longer a chain; shapes come second.
        source = node.inputs[0] if node.op_type in (*CARRIED, *RESHAPED) else None
        if source is None and len(computed) == 1:
            source = computed[0]
        if source is None:
            break
        last = node if node.op_type not in CARRIED else last
        node = source.producer()
    return node, last


def _counts(node: "ir.Node") -> bool:
    """Whether a Cast makes integers, which are no scores."""
    import onnx_ir as ir

    to = node.attributes.get_int("to", ir.DataType.FLOAT) if node.op_type == "Cast" else None
    return to is not None and not ir.DataType(to).is_floating_point()


def _is_row(node: "ir.Node", logits: "ir.Value", opset: int) -> bool:
    """Whether the scores are those of one row of classes for every image."""
    axis = node.attributes.get_int("axis", 1 if opset < 13 else -1)
    if logits.shape is None:
        return node.op_type == "Sigmoid" or axis in (1, -1)
    rank = len(logits.shape)
    wide = [place for place in range(1, rank) if logits.shape[place] != 1]
    if node.op_type == "Sigmoid":  # of each number by itself
        return len(wide) <= 1
    if not -rank <= axis < rank or axis % rank == 0:
        return False
    axis %= rank
    classes = wide[0] if wide else axis
    return len(wide) <= 1 and (classes >= axis if opset < 13 else classes == axis)


def _is_same_row(result: "ir.Value", logits: "ir.Value") -> bool:
    """Whether a result of the same numbers has them in rows of as many; where the sizes cannot be
    told it does not."""
    if result.shape is None or logits.shape is None:
        return False
    rows = [[side for side in shape if side != 1] for shape in (result.shape, logits.shape)]
    whole = all(isinstance(side, int) for side in list(logits.shape)[1:])
    classes = math.prod(side for side in list(logits.shape)[1:] if isinstance(side, int))
    return whole and len(rows[0]) <= 2 and (rows[0][-1:] == [classes] or classes == 1)


def _kept(node: "ir.Node | None", last: "ir.Node | None") -> str:
    assert node is not None
    named = f"{node.op_type} {node.name or node.outputs[0].name!r}"
    return (
        named
        if last is None
        else f"{named} (before {last.op_type} {last.name or last.outputs[0].name!r})"
    )


def flatten_result(model: "ir.Model") -> None:
    """Make the result a row of logits, in place. Raises StageError where it is something else."""
    import onnx_ir as ir
    import onnx_ir.passes.common as passes

    graph = model.graph
    result = graph.outputs[0]
    shape = None if result.shape is None else list(result.shape)
    if result.dtype not in (ir.DataType.FLOAT, None):
        raise StageError(
            f"its output {result.name!r} is {result.dtype}; logits of real numbers are needed",
            hint="export the model without the choice of the best class at its end",
        )
    chooser, _ = _behind(result, (*CARRIED, *RESHAPED))
    if chooser is not None and chooser.op_type == "TopK":
        raise StageError(
            f"its output {result.name!r} are the best of its classes, sorted, by TopK "
            f"{chooser.name or chooser.outputs[0].name!r}; the logits of all are needed",
            hint="export the model without the choice of the best classes at its end",
        )
    if shape is None:
        raise StageError(
            f"its operators do not fit together: {misfit(model)}",
            hint="mend that node; ONNX Runtime says more about it, and Netron shows it",
        )
    wide = [side for side in shape[1:] if side != 1]
    if len(shape) < 2 or len(wide) > 1 or not all(isinstance(side, int) for side in wide):
        raise StageError(
            f"its output {result.name!r} has shape {result.shape}; a row of logits for every image "
            "is needed",
            hint="export the model with its classifier, and without what follows its logits",
        )
    if len(shape) > 2:
        flatten = ir.node("Flatten", [result], attributes={"axis": 1}, name="flatten logits")
        flatten.outputs[0].type = result.type
        graph.append(flatten)
        graph.outputs[0] = flatten.outputs[0]
        passes.ShapeInferencePass()(model)
