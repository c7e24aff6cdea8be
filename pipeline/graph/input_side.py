"""The image input of a model that others made, as the canonical Graph has it.

Rules:
 1. It is float32 `[batch, 3, size, size]`. Free height and width become the recipe's size.
 2. An NHWC input is taken where the model transposes it, first thing or behind what normalizes it
    (Keras' Rescaling and Normalization as tf2onnx writes them), and the Transpose goes; any other NHWC
    model is refused.
 3. A model that normalizes its input itself, by constants per channel, gives that to the
    preprocessing: `((byte/255 - mean)/std - m) / s` is a normalization with the mean `mean + std m`
    and the deviation `std s`. On the device this costs nothing, as a node it would cost a pass over
    the image and an 8-bit rounding. Where the sum is no normalization that a recipe could say, the
    nodes stay.
"""

from typing import TYPE_CHECKING

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.graph.canonical import BATCH
from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

TO_NCHW = (0, 3, 1, 2)
LARGEST_BATCH = 256
"""Images that a model may be made for; it can only be run on as many."""
GREY = (
    "pictures are read in RGB: a model of grey ones needs a 1x1 convolution in front of it with weights "
    "0.299, 0.587 and 0.114"
)
"""What to do with a model of one channel, in any format."""


def fix_input(graph: "ir.Graph", size: int, where: str) -> tuple[int | None, bool]:
    """Apply rules 1 and 2 in place; the batch size that the model was exported for (None: free),
    and whether it takes NHWC. Shapes in between have to be inferred again."""
    import onnx_ir as ir

    image = graph.inputs[0]
    if image.dtype is not None and image.dtype != ir.DataType.FLOAT:
        raise StageError(
            f"its input {image.name!r} is {image.dtype.name.lower()}, not float32",
            where=where,
            hint="export it without the part that turns bytes into real numbers, and say in "
            "data.preprocess what that part did",
        )
    if image.shape is None or len(image.shape) != 4:
        raise StageError(
            f"its input {image.name!r} has shape {image.shape}; an image [N, 3, H, W] is needed",
            where=where,
            hint="export the model for a batch of images, without what makes the batch inside of it"
            if image.shape is not None and len(image.shape) == 3
            else "",
        )
    sides = [side if isinstance(side, int) else None for side in image.shape]
    last = sides[3] == 3 and sides[1] != 3
    channels, rows, columns = (sides[3], *sides[1:3]) if last else sides[1:]
    if channels not in (3, None):
        raise StageError(
            f"its input {image.name!r} has shape {image.shape}; an image of 3 channels is needed",
            where=where,
            hint=GREY if channels == 1 else "",
        )
    if rows not in (size, None) or columns not in (size, None):
        raise StageError(
            f"its input is {rows}x{columns}, but data.preprocess gives {size}x{size}",
            where=where,
            hint=f"give data.preprocess.size: {rows}" if rows == columns else "",
        )
    if sides[0] is not None and not 1 <= sides[0] <= LARGEST_BATCH:
        raise StageError(
            f"it takes {sides[0]} images at a time; up to {LARGEST_BATCH} are run here",
            where=where,
            hint="export it for one image, or for any number of them",
        )
    if last:
        _drop_transposes(graph, image, where)
    image.shape = ir.Shape([BATCH, 3, size, size])
    image.type = ir.TensorType(ir.DataType.FLOAT)
    return sides[0], last


def _drop_transposes(graph: "ir.Graph", image: "ir.Value", where: str) -> None:
    """Rule 2."""
    import onnx_ir as ir

    last, constants = image, []
    while (step := _shift_or_scale(last)) is not None:
        constants.append(step)
        last = step[0].outputs[0]
    readers = [use.node for use in last.uses()]
    if (
        not readers
        or last.is_graph_output()
        or not all(
            node.op_type == "Transpose" and tuple(node.attributes.get_ints("perm", ())) == TO_NCHW
            for node in readers
        )
    ):
        raise StageError(
            f"its input {image.name!r} has shape {image.shape}, channels last, and is read so by "
            f"{readers[0].op_type if readers else 'nothing'}",
            where=where,
            hint="export the model with channels first: [N, 3, H, W]",
        )
    for node, place, array in constants:
        name = fresh_name(graph, f"{node.name}_channels_first")
        node.replace_input_with(place, add_initializer(graph, name, array))
    for node in readers:
        ir.convenience.replace_all_uses_with(node.outputs[0], last, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _shift_or_scale(image: "ir.Value") -> "tuple[ir.Node, int, NDArray[np.generic]] | None":
    """The only node that reads an NHWC image, where it works by a constant for all values or for each
    channel: the place of the constant, and the constant as NCHW has it."""
    import numpy as np

    nodes = [use.node for use in image.uses()]
    if len(nodes) != 1 or nodes[0].op_type not in ("Sub", "Add", "Div", "Mul"):
        return None
    place = 1 if nodes[0].inputs[0] is image else 0
    constant = nodes[0].inputs[place]
    if constant is None or constant.const_value is None:
        return None
    array = np.asarray(constant.const_value.numpy())
    if array.ndim > 4 or array.shape[-1:] not in ((), (1,), (3,)) or any(
        side != 1 for side in array.shape[:-1]
    ):  # fmt: skip
        return None
    return nodes[0], place, array.reshape(-1, 1, 1)


def take_normalization(graph: "ir.Graph", given: Normalization) -> Normalization:
    """Apply rule 3 in place; the normalization that the Graph is left to be fed with."""
    import onnx_ir as ir

    mean, deviation = list(given.mean), list(given.std)
    taken, result = given, None
    last = graph.inputs[0]
    passed = []
    while len(last.uses()) == 1 and not last.is_graph_output():
        node = next(iter(last.uses())).node
        values = _per_channel(node, last)
        if values is None:
            break
        for channel, value in enumerate(values):
            if node.op_type in ("Sub", "Add"):
                shift = value if node.op_type == "Sub" else -value
                mean[channel] += deviation[channel] * shift
            else:
                deviation[channel] *= value if node.op_type == "Div" else 1 / value
        passed.append(node)
        last = node.outputs[0]
        found = _normalization(mean, deviation)
        if found is not None:
            taken, result = found, last
    if result is not None:
        ir.convenience.replace_all_uses_with(result, graph.inputs[0], replace_graph_outputs=True)
        for node in passed[: passed.index(result.producer()) + 1][::-1]:  # type: ignore[arg-type]
            graph.remove(node, safe=True)
    return taken


def _per_channel(node: "ir.Node", image: "ir.Value") -> "NDArray[np.float64] | None":
    """The constant `[3]` by which a node shifts or scales the image; None where it does not."""
    import numpy as np

    if node.op_type not in ("Sub", "Add", "Div", "Mul"):
        return None
    swapped = node.inputs[0] is not image
    if swapped and node.op_type in ("Sub", "Div"):
        return None
    constant = node.inputs[0 if swapped else 1]
    if constant is None or constant.const_value is None:
        return None
    array = np.asarray(constant.const_value.numpy(), np.float64)
    full = (1,) * (4 - array.ndim) + array.shape
    if len(full) != 4 or full[0] != 1 or full[1] not in (1, 3) or full[2:] != (1, 1):
        return None
    if node.op_type in ("Div", "Mul") and not (array > 0).all():
        return None
    return np.broadcast_to(array.reshape(-1), (3,))


def _normalization(mean: list[float], deviation: list[float]) -> Normalization | None:
    """As a recipe could say it, or None."""
    try:
        return Normalization(
            mean=tuple(float(value) for value in mean),  # type: ignore[arg-type]
            std=tuple(float(value) for value in deviation),  # type: ignore[arg-type]
        )
    except ValueError:
        return None
