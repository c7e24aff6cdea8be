"""A model that others made as the canonical Graph: what has to be done before `canonicalize`.

Rules, in this order:
 1. One input that is no initializer, and one output; initializers that are listed as inputs too are
    not (IR 3). Functions of the model's own are written out.
 2. It computes what it computes when it is used, not when it is trained (`training_form.py`), and
    a Softmax at the end goes (`head.py`).
 3. All real numbers are float32 (`precision.py`).
 4. The input is `[batch, 3, size, size]` (`input_side.py`).
 5. Dropouts and Identities go, and the opset is 13 (`opset.py`).
 6. Constants are computed (`constant_folding.py`), the batch is free (`batch_shapes.py`), a Sum
    is an Add, and `auto_pad` is written out (`auto_pad.py`).
 7. The result is a row of logits `[batch, classes]` (`head.py`).
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
    kept: str | None
    """A Softmax or the like near the end that had to stay, with what follows it."""
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
    from pipeline.graph.batch_norm import fold_batch_norms
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.channel_scales import fold_channel_scales
    from pipeline.graph.file import set_preprocess
    from pipeline.graph.inference import infer_shapes
    from pipeline.graph.input_side import take_normalization

    came = prepare(model, preprocess.size, where)
    with placed(where):
        taken = take_normalization(model.graph, preprocess.normalization)
        fold_batch_norms(model.graph)
        infer_shapes(model)
        fold_channel_scales(model.graph)
        canonicalize(model)
    set_preprocess(model, preprocess.with_normalization(taken))
    return came


def prepare(model: "ir.Model", size: int, where: str) -> Came:
    """Apply rules 1 to 7 in place, to a float or a QDQ model; `size` is the input's. Shapes are
    inferred afterwards. Raises StageError for what cannot have the form."""
    import onnx_ir.passes.common as passes

    from pipeline.graph.auto_pad import write_out_pads
    from pipeline.graph.batch_shapes import free_batch
    from pipeline.graph.canonical import remove_dropout
    from pipeline.graph.constant_folding import fold_constants
    from pipeline.graph.functions import inline_functions
    from pipeline.graph.head import flatten_result, strip_scores
    from pipeline.graph.inference import infer_again, infer_shapes
    from pipeline.graph.input_side import fix_input
    from pipeline.graph.opset import to_opset_13
    from pipeline.graph.precision import to_float32
    from pipeline.graph.training_form import refuse_training_form

    with placed(where):
        inline_functions(model)
        passes.RemoveInitializersFromInputsPass()(model)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        passes.TopologicalSortPass()(model)
        _require_one_of_each(model.graph)
        refuse_training_form(model.graph)
        remove_dropout(model.graph)
        passes.IdentityEliminationPass()(model)
        passes.RemoveUnusedNodesPass()(model)
        infer_shapes(model)
        named = {value.name for node in model.graph for value in node.outputs}
        stripped, kept = strip_scores(model, named)
        output = model.graph.outputs[0].name or ""
        precisions = to_float32(model)
        batch, channels_last = fix_input(model.graph, size, where)
        infer_again(model)
        opset = to_opset_13(model, where)
        fold_constants(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        if not model.graph.inputs[0].uses():
            raise StageError("its output does not depend on its input")
        infer_again(model)
        free_batch(model, batch)
        _sum_to_add(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        infer_again(model)
        write_out_pads(model.graph)
        if kept:  # by now the sizes of what follows are known
            stripped, kept = strip_scores(model, named)
            output = output if stripped is None else model.graph.outputs[0].name or ""
        flatten_result(model)
    return Came(opset, batch, channels_last, output, stripped, kept, precisions)


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
