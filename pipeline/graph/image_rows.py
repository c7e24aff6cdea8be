"""Constants that a model repeats for every image, such as a class token, without the repetition.

A model that was exported with a free batch expands such a constant to the size of the batch. Where it
is added, the one row does as well. Where it is put beside an image's own values, there is no constant
of any batch size to put there; so the image's values are padded with zeros, and the row is added to
those: the same sums, in operators that the NPU has and that take any batch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    Made = dict[ir.Value, NDArray[Any]]
    """What values are, for some batch size."""

BROADCAST = ("Add", "Div", "Mul", "Pow", "Sub", "Where")


def one_row(
    one: "NDArray[Any]", other: "NDArray[Any]", batches: tuple[int, int]
) -> "NDArray[Any] | None":
    """The row `[1, …]` that a tensor has for every image, as it is for two batch sizes; else None."""
    if not one.ndim or not other.ndim or (one.shape[0], other.shape[0]) != batches:
        return None
    row = one[:1]
    if one.shape[1:] != other.shape[1:] or (one != row).any() or (other != row).any():
        return None
    return row


def put_rows(
    graph: "ir.Graph", node: "ir.Node", rows: "Mapping[int, NDArray[Any]]", made: "Made"
) -> None:
    """Give a node these rows for what it reads at these places; it stays as it is where that cannot
    be. `made` has what else a Concat reads, for some batch size, and is told of what takes its place."""
    if node.op_type in BROADCAST:
        for index, row in rows.items():
            name = fresh_name(graph, f"{node.outputs[0].name}_row")
            node.replace_input_with(index, add_initializer(graph, name, row))
    elif node.op_type == "Concat" and len(rows) == len(node.inputs) - 1:
        _put_beside(graph, node, rows, made)


def _put_beside(
    graph: "ir.Graph", node: "ir.Node", rows: "Mapping[int, NDArray[Any]]", made: "Made"
) -> None:
    """`Concat(row, x)` as `Add(Pad(x), row)`, both filled up with zeros."""
    import onnx_ir as ir

    [place] = set(range(len(node.inputs))) - set(rows)
    source, result = node.inputs[place], node.outputs[0]
    if source is None or made[source].dtype != np.float32:
        return
    own = made[source][:1]
    axis = node.attributes["axis"].as_int() % own.ndim
    if axis == 0:
        return
    parts = [rows.get(index, np.zeros_like(own)) for index in range(len(node.inputs))]
    pads = np.zeros((2, own.ndim), np.int64)
    pads[:, axis] = [
        sum(p.shape[axis] for p in part) for part in (parts[:place], parts[place + 1 :])
    ]
    name = result.name or ""
    around = add_initializer(graph, fresh_name(graph, f"{name}_pads"), pads.reshape(-1))
    beside = add_initializer(graph, fresh_name(graph, f"{name}_row"), np.concatenate(parts, axis))
    pad = ir.node("Pad", [source, around], name=f"{node.name}/Pad")
    add = ir.node("Add", [pad.outputs[0], beside], name=f"{node.name}/Add")
    for value in (pad.outputs[0], add.outputs[0]):
        value.type = result.type
    graph.insert_before(node, [pad, add])
    ir.convenience.replace_all_uses_with(result, add.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if result in made:  # what the next Concat reads
        made[add.outputs[0]] = made[result]
