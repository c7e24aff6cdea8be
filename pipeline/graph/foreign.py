"""A model that others made as the canonical Graph: what has to be done before `canonicalize`.

Rules, in this order:
 1. One input that is no initializer, and one output; initializers that are listed as inputs too are
    not (IR 3). Functions of the model's own are written out.
 2. A Softmax or LogSoftmax over the classes at the end goes. It keeps their order, but squeezes the
    logits, by which everything here is measured, into a few steps of 8 bits.
 3. All real numbers are float32 (`precision.py`).
 4. The input is `[batch, 3, size, size]` (`input_side.py`).
 5. Dropouts and Identities go, and the opset is 13 (`opset.py`).
 6. Constants are computed (`constant_folding.py`), the batch is free (`batch_shapes.py`), and a Sum
    is an Add.
 7. The result is a row of logits `[batch, classes]`.
 8. What a float model does to normalize its input belongs to the preprocessing (`input_side.py`).
 9. Its batch norms and what follows them go into the convolutions (`channel_scales.py`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir

SCORES = ("Softmax", "LogSoftmax")
PAIR = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Came:
    """How a model came, as far as running it and telling of it take that."""

    opset: int
    batch: int | None
    """The batch size it was exported for; None where it was free."""
    channels_last: bool
    output: str
    """The tensor that the Graph's logits are: the model's result, or what its last Softmax reads."""
    stripped: str | None
    """The operator that was taken from the end."""
    precisions: tuple[str, ...]
    """Of its real numbers, beside float32."""

    @property
    def is_half(self) -> bool:
        """Whether it was computed with in half precision."""
        return any(name != "DOUBLE" for name in self.precisions)


def bring_in(model: "ir.Model", preprocess: Preprocess, where: str) -> Came:
    """Make a float model the canonical Graph, with its preprocessing in it, in place.

    Raises StageError for what cannot have the form.
    """
    import onnx_ir.passes.common as passes

    from pipeline.graph.batch_norm import fold_batch_norms
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.channel_scales import fold_channel_scales
    from pipeline.graph.file import set_preprocess
    from pipeline.graph.input_side import take_normalization

    came = prepare(model, preprocess.size, where)
    with placed(where):
        taken = take_normalization(model.graph, preprocess.normalization)
        fold_batch_norms(model.graph)
        passes.ShapeInferencePass()(model)
        fold_channel_scales(model.graph)
        canonicalize(model)
    set_preprocess(model, preprocess.with_normalization(taken))
    return came


def prepare(model: "ir.Model", size: int, where: str) -> Came:
    """Apply rules 1 to 7 in place, to a float or a QDQ model; `size` is the input's. Shapes are
    inferred afterwards. Raises StageError for what cannot have the form."""
    import onnx_ir.passes.common as passes

    from pipeline.graph.batch_shapes import free_batch
    from pipeline.graph.canonical import remove_dropout
    from pipeline.graph.constant_folding import fold_constants
    from pipeline.graph.functions import inline_functions
    from pipeline.graph.input_side import fix_input
    from pipeline.graph.opset import to_opset_13
    from pipeline.graph.precision import to_float32

    with placed(where):
        inline_functions(model)
        passes.RemoveInitializersFromInputsPass()(model)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        passes.TopologicalSortPass()(model)
        _require_one_of_each(model.graph)
        remove_dropout(model.graph)
        passes.IdentityEliminationPass()(model)
        passes.RemoveUnusedNodesPass()(model)
        passes.ShapeInferencePass()(model)
        stripped = _strip_scores(model)
        output = model.graph.outputs[0].name or ""
        precisions = to_float32(model)
        batch, channels_last = fix_input(model.graph, size, where)
        _infer_again(model)
        opset = to_opset_13(model, where)
        fold_constants(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        if not model.graph.inputs[0].uses():
            raise StageError("its output does not depend on its input")
        _infer_again(model)
        free_batch(model, batch)
        _sum_to_add(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        _infer_again(model)
        _flatten_result(model)
    return Came(opset, batch, channels_last, output, stripped, precisions)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Give the file's name to errors that do not name a place, and words to those of onnx_ir, which
    are of many types. It also logs what shape inference
    says of such a model, traceback included, which is kept back."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except StageError as error:
        if error.where:
            raise
        raise StageError(error.what, where=where, hint=error.hint) from error
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # What ONNX's checker does not look at, such as an attribute's value.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StageError(
            f"is damaged, or holds what no rule of the import expects: {reason}",
            where=where,
            hint="run the model in ONNX Runtime; if it runs there, report it with this message",
        ) from error
    finally:
        logger.setLevel(level)


def _infer_again(model: "ir.Model") -> None:
    """Infer shapes and types anew, from the input alone."""
    import onnx_ir.passes.common as passes

    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    passes.ShapeInferencePass()(model)


def _require_one_of_each(graph: "ir.Graph") -> None:
    """Rule 1."""
    names = [value.name for value in graph.inputs], [value.name for value in graph.outputs]
    if len(names[0]) != 1 or len(names[1]) != 1:
        raise StageError(
            f"has the inputs {names[0]} and the outputs {names[1]}; a classifier of one image input "
            "and one logits output is needed",
            hint="onnx.utils.extract_model cuts the part between one input and one output out",
        )
    if graph.outputs[0].producer() is None:
        raise StageError(f"its output {names[1][0]!r} is not computed from its input")


def _strip_scores(model: "ir.Model") -> str | None:
    """Rule 2; the operator that went."""
    import onnx_ir.passes.common as passes

    graph = model.graph
    node = graph.outputs[0].producer()
    while node is not None and node.op_type in PAIR and node.inputs[0] is not None:
        node = node.inputs[0].producer()  # a quantized model's scores are quantized
    if node is None or node.op_type not in SCORES or node.inputs[0] is None:
        return None
    logits = node.inputs[0]
    rank = 2 if logits.shape is None else len(logits.shape)
    before_13 = model.opset_imports.get("", 0) < 13
    if node.attributes.get_int("axis", 1 if before_13 else -1) % rank != 1:
        return None
    if logits.producer() is None:
        return None
    graph.outputs[0] = logits
    passes.RemoveUnusedNodesPass()(model)
    return node.op_type


def _misfit(model: "ir.Model") -> str:
    """What shape inference says of a model whose shapes it cannot tell."""
    import onnx
    import onnx_ir as ir

    try:
        onnx.shape_inference.infer_shapes(ir.to_proto(model), check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        return str(error).strip().splitlines()[0]
    return f"the shape of the output {model.graph.outputs[0].name!r} cannot be told"


def _sum_to_add(graph: "ir.Graph") -> None:
    """Rule 6: a Sum of several as a chain of Adds."""
    import onnx_ir as ir

    for node in [node for node in graph if node.op_type == "Sum"]:
        total = node.inputs[0]
        for number, value in enumerate(node.inputs[1:]):
            add = ir.node("Add", [total, value], name=f"{node.name}/Add{number}")
            graph.insert_before(node, add)
            total = add.outputs[0]
        assert total is not None
        total.type = node.outputs[0].type
        ir.convenience.replace_all_uses_with(node.outputs[0], total, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _flatten_result(model: "ir.Model") -> None:
    """Rule 7."""
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
    if shape is None:
        raise StageError(f"its operators do not fit together: {_misfit(model)}")
    if len(shape) < 2 or any(side != 1 for side in shape[2:]):
        raise StageError(
            f"its output {result.name!r} has shape {result.shape}; a row of logits for every image "
            "is needed"
        )
    if len(shape) > 2:
        flatten = ir.node("Flatten", [result], attributes={"axis": 1}, name="flatten logits")
        flatten.outputs[0].type = result.type
        graph.append(flatten)
        graph.outputs[0] = flatten.outputs[0]
        passes.ShapeInferencePass()(model)
