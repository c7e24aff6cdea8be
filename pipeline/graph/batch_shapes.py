"""Free the batch size of a model that was exported for one, or that computes shapes from it.

Rules:
 1. Sizes that the model computes while it runs (`Shape`, `Gather`, `Concat`) are computed once for
    two batch sizes: what is the same for both is a constant.
 2. In the shape of a Reshape, one entry that grows with the batch is a 0 ("as before") in the first
    place and a -1 ("what is left") in any other.
 3. In the constant shape of a Reshape whose input begins with the batch, a first entry that is the
    batch the model was exported for is a 0; where a -1 stands first and only the batch is left for
    it, likewise.

Sizes that depend on the batch in another way stay as they are.
"""

import math
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.graph.canonical import BATCH
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import numpy as np
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
            _free_reshape(model.graph, node, batch if batch is not None else 1)
    _set_batch(model, shape, BATCH)


def _set_batch(model: "ir.Model", shape: list[Any], batch: int | str) -> None:
    """Give the input this batch size, and forget what was inferred from another."""
    import onnx_ir as ir

    model.graph.inputs[0].shape = ir.Shape([batch, *shape[1:]])
    for node in model.graph:
        for output in node.outputs:
            output.shape = None


def _computed(graph: "ir.Graph") -> "list[ir.Value]":
    """Sizes that are computed from activations, where a node that computes real numbers takes them."""
    import onnx_ir as ir

    sized: set[ir.Value] = set()
    found: dict[ir.Value, None] = {}
    for node in graph:
        if node.op_type in ("Shape", "Size"):
            sized.update(node.outputs)
            continue
        reads = [value for value in node.inputs if value is not None and value in sized]
        others = [v for v in node.inputs if v is not None and v not in sized and not v.const_value]
        if reads and not others:
            sized.update(node.outputs)
        else:
            found.update(dict.fromkeys(reads))
    return list(found)


def _fix_computed(model: "ir.Model", batches: tuple[int, int]) -> None:
    """Rules 1 and 2."""
    values = _computed(model.graph)
    if not values:
        return
    first, second = (_values(model, values, batch) for batch in batches)
    for value, one, other in zip(values, first, second, strict=True):
        for use in list(value.uses()):
            fixed = one
            if one.shape != other.shape or (one != other).any():
                shape = _free_entries(one, other) if use.node.op_type == "Reshape" else None
                if shape is None:
                    continue
                fixed = shape
            name = fresh_name(model.graph, f"{value.name}_fixed")
            use.node.replace_input_with(use.idx, add_initializer(model.graph, name, fixed))


def _free_entries(
    one: "NDArray[np.int64]", other: "NDArray[np.int64]"
) -> "NDArray[np.int64] | None":
    """Rule 2."""
    places = [] if one.shape != other.shape else [int(i) for i in (one != other).nonzero()[0]]
    if len(places) != 1:
        return None
    free = one.copy()
    is_batch = places[0] == 0 and (int(one[0]), int(other[0])) == TRIED
    if not is_batch and (one == -1).any():
        return None
    free[places[0]] = 0 if is_batch else -1
    return free


def _values(model: "ir.Model", values: "list[ir.Value]", batch: int) -> "list[NDArray[np.int64]]":
    """What these tensors are for a batch of this size."""
    import numpy as np

    from pipeline.graph.session import session_of

    copy = model.clone()
    made = {output.name: output for node in copy.graph for output in node.outputs}
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(made[value.name] for value in values)
    image = copy.graph.inputs[0]
    assert image.shape is not None and image.name is not None
    sides = [int(side) for side in list(image.shape)[1:] if isinstance(side, int)]
    blank = np.zeros((batch, *sides), np.float32)
    session = session_of(copy, 1)
    try:
        found: list[NDArray[np.int64]] = session.run(None, {image.name: blank})
    except Exception as error:  # ONNX Runtime's errors share no public base class
        reason = str(error).splitlines()[0]
        raise StageError(f"ONNX Runtime cannot compute its shapes: {reason}") from error
    return found


def _free_reshape(graph: "ir.Graph", node: "ir.Node", batch: int) -> None:
    """Rule 3, at a Reshape whose input has a known shape."""
    import numpy as np

    source, given = node.inputs[0], node.inputs[1]
    if given is None or given.const_value is None or source is None or source.shape is None:
        return
    before = [side if isinstance(side, int) else 0 for side in source.shape]
    shape = np.array(given.const_value.numpy(), np.int64).reshape(-1)
    if not len(shape) or not before or before[0] != batch or source.const_value is not None:
        return
    rest = [
        before[i] if side == 0 and i < len(before) else int(side) for i, side in enumerate(shape)
    ]
    alone = shape[0] == -1 and math.prod(rest[1:]) == math.prod(before[1:])
    if shape[0] == batch or alone:
        shape[0] = 0
        name = fresh_name(graph, f"{node.outputs[0].name}_shape")
        node.replace_input_with(1, add_initializer(graph, name, shape))
