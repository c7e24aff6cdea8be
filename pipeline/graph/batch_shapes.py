"""Free the batch size of a model that was exported for one, or that computes shapes from it.

Rules:
 1. What the model computes from sizes alone while it runs (`Shape`, `Gather`, `Concat`) is computed
    once for two batch sizes: what is the same for both is a constant.
 2. In the shape of a Reshape, one entry that grows with the batch is a 0 ("as before") where it
    stands first and is as large as before, and a -1 ("what is left") elsewhere. In that of an
    Expand, those that are as large as before are a 1 (likewise).
 3. What has an equal row for every image, as a class token has, is a constant of one row where it is
    added or multiplied (`image_rows.py`, also for where it is put beside an image's own values).
 4. In the constant shape of a Reshape whose input begins with the batch, a first entry that is the
    batch the model was exported for is a 0; where a -1 stands first and only the batch is left for
    it, likewise.

What depends on the batch in another way stays as it is.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StageError
from pipeline.graph.canonical import BATCH
from pipeline.graph.image_rows import one_row, put_rows
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

TRIED = (2, 3)


def free_batch(model: "ir.Model", batch: int | None) -> None:
    """Apply the rules in place. The model's only input has a fixed size, but for the batch; `batch`
    is the one it was exported for, None where it was free. Raises StageError where ONNX Runtime
    refuses the model."""
    import onnx_ir.passes.common as passes

    _fix_computed(model, (batch, batch) if batch is not None else TRIED)
    image = model.graph.inputs[0]
    assert image.shape is not None
    shape: list[Any] = list(image.shape)
    _set_batch(model, shape, batch if batch is not None else 1)
    passes.ShapeInferencePass()(model)
    for node in model.graph:
        if node.op_type == "Reshape":
            _free_reshape(model.graph, node, batch)
    _set_batch(model, shape, BATCH)


def make_static(model: "ir.Model") -> None:
    """Compute, in place, all that a model of opset 13 with a free batch computes without its image.
    Raises StageError as `free_batch` does, and where a constant would be too large."""
    import onnx_ir.passes.common as passes

    from pipeline.graph.constant_folding import fold_constants

    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.IdentityEliminationPass()(model)
    fold_constants(model.graph)
    free_batch(model, None)
    passes.RemoveUnusedNodesPass()(model)


def _set_batch(model: "ir.Model", shape: list[Any], batch: int | str) -> None:
    """Give the input this batch size, and forget what was inferred from another."""
    import onnx_ir as ir

    model.graph.inputs[0].shape = ir.Shape([batch, *shape[1:]])
    for node in model.graph:
        for output in node.outputs:
            output.shape = None


def _computed(graph: "ir.Graph") -> "list[ir.Value]":
    """What is computed from sizes alone, where a node that computes real numbers takes them."""
    import onnx_ir as ir

    sized: set[ir.Value] = set()
    found: dict[ir.Value, None] = {}
    for node in graph:
        if node.op_type in ("Shape", "Size"):
            sized.update(node.outputs)
            continue
        reads = [value for value in node.inputs if value is not None and value in sized]
        others = [v for v in node.inputs if v is not None and v not in sized]
        others = [value for value in others if value.const_value is None]
        if reads and not others:
            sized.update(node.outputs)
        else:
            found.update(dict.fromkeys(reads))
    return list(found)


def _fix_computed(model: "ir.Model", batches: tuple[int, int]) -> None:
    """Rules 1 to 3."""
    values = _computed(model.graph)
    if not values:
        return
    uses = [(value, use.node, use.idx) for value in values for use in value.uses()]
    with_others = ("Concat", *_SHAPED)
    beside = [value for _, node, _ in uses if node.op_type in with_others for value in node.inputs]
    asked = list(dict.fromkeys([*values, *(value for value in beside if value is not None)]))
    first, second = (_values(model, asked, batch) for batch in batches)
    rows: dict[ir.Node, dict[int, NDArray[Any]]] = {}
    for value, node, index in uses:
        one, other = first[value], second[value]
        if one.shape == other.shape and (one == other).all():
            _fix(model.graph, value, node, index, one)
        elif node.op_type in _SHAPED and index == 1 and one.shape == other.shape:
            source = node.inputs[0]
            assert source is not None
            free = _SHAPED[node.op_type]
            shape = free(one, other, first[source].shape, second[source].shape)
            if shape is not None:
                _fix(model.graph, value, node, index, shape)
        elif (row := one_row(one, other, batches)) is not None:
            rows.setdefault(node, {})[index] = row
    for node, found in rows.items():
        put_rows(model.graph, node, found, first)


def _fix(
    graph: "ir.Graph", value: "ir.Value", node: "ir.Node", index: int, fixed: "NDArray[Any]"
) -> None:
    name = fresh_name(graph, f"{value.name}_fixed")
    node.replace_input_with(index, add_initializer(graph, name, fixed))


def _free_entries(
    one: "NDArray[np.int64]",
    other: "NDArray[np.int64]",
    before_one: tuple[int, ...],
    before_other: tuple[int, ...],
) -> "NDArray[np.int64] | None":
    """Rule 2; `before_…` are the shapes of what is reshaped, for both batch sizes."""
    free, second = _written_out(one, before_one), _written_out(other, before_other)
    places = [int(i) for i in (free != second).nonzero()[0]]
    if len(places) != 1:
        return None
    [place] = places
    is_as_before = place == 0 and (free[0], second[0]) == (before_one[0], before_other[0])
    free[place] = 0 if is_as_before else -1
    return free


def _broadcast_entries(
    one: "NDArray[np.int64]",
    other: "NDArray[np.int64]",
    before_one: tuple[int, ...],
    before_other: tuple[int, ...],
) -> "NDArray[np.int64] | None":
    """Rule 2 of an Expand."""
    if len(one) != len(before_one):
        return None
    grows = one != other
    is_as_before = (one == before_one) & (other == before_other)
    return np.where(grows, 1, one) if is_as_before[grows].all() else None


_SHAPED = {"Expand": _broadcast_entries, "Reshape": _free_entries}


def _written_out(shape: "NDArray[np.int64]", before: tuple[int, ...]) -> "NDArray[np.int64]":
    """The shape of a Reshape with numbers for its 0 and -1."""
    sides = [before[i] if side == 0 else int(side) for i, side in enumerate(shape)]
    if -1 in sides:
        rest = math.prod(side for side in sides if side != -1)
        sides[sides.index(-1)] = math.prod(before) // rest if rest else 0
    return np.array(sides, np.int64)


def _values(
    model: "ir.Model", values: "list[ir.Value]", batch: int
) -> "dict[ir.Value, NDArray[Any]]":
    """What these tensors are for a batch of this size, of a gray image."""
    from pipeline.graph.session import session_of

    copy = model.clone()
    made = {output.name: output for node in copy.graph for output in node.outputs}
    computed = [value for value in values if value.name in made]
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(made[value.name] for value in computed)
    image = copy.graph.inputs[0]
    assert image.shape is not None and image.name is not None
    sides = [int(side) for side in list(image.shape)[1:] if isinstance(side, int)]
    blank = np.zeros((batch, *sides), np.float32)
    session = session_of(copy, 1)
    try:
        found = session.run(None, {image.name: blank})
    except Exception as error:  # ONNX Runtime's errors share no public base class
        reason = str(error).splitlines()[0]
        raise StageError(f"ONNX Runtime cannot compute its shapes: {reason}") from error
    constants = {v: v.const_value.numpy() for v in values if v.const_value is not None}
    return constants | {model.graph.inputs[0]: blank} | dict(zip(computed, found, strict=True))


def _free_reshape(graph: "ir.Graph", node: "ir.Node", batch: int | None) -> None:
    """Rule 4, at a Reshape whose input has a known shape."""
    source, given = node.inputs[0], node.inputs[1]
    if given is None or given.const_value is None or source is None or source.shape is None:
        return
    before = [side if isinstance(side, int) else 0 for side in source.shape]
    shape = np.array(given.const_value.numpy(), np.int64).reshape(-1)
    if not len(shape) or not before or before[0] != (batch or 1) or source.const_value is not None:
        return
    rest = [
        before[i] if side == 0 and i < len(before) else int(side) for i, side in enumerate(shape)
    ]
    alone = shape[0] == -1 and math.prod(rest[1:]) == math.prod(before[1:])
    if shape[0] == batch or alone:
        shape[0] = 0
        name = fresh_name(graph, f"{node.outputs[0].name}_shape")
        node.replace_input_with(1, add_initializer(graph, name, shape))
