"""Write out the ReLU and ReLU6 that a QDQ file leaves to the saturation of its integers.

A quantizer may drop an activation whose bounds are the ends of the grid behind it, as ONNX Runtime's
does: integers that end at 0 cut off what is negative anyway. In the float model it has to stand.

Where a layer's grid ends at 0, a ReLU is written; where the calibration saw nothing negative, it is
next to nothing more. Where such a grid ends at 6 as well, it is a ReLU6. Other upper ends are what
calibration saw, and no part of the model.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.graph.initializers import add_initializer, fresh_name
from pipeline.quant.placement import ACTIVATIONS, FUSES_ACTIVATION
from pipeline.quant.qdq_read import Grid, Grids

if TYPE_CHECKING:
    import onnx_ir as ir

SIX = 6.0


def restore_activations(graph: "ir.Graph", grids: Grids) -> None:
    """Put them behind the layers, in place; the grid is then that of their result."""
    import onnx_ir as ir

    for value, grid in list(grids.activations.items()):
        layer = value.producer()
        readers = [use.node for use in value.uses()]
        if (
            layer is None
            or layer.op_type not in FUSES_ACTIVATION
            or not _ends_at_zero(grid)
            or value.is_graph_output()
            or not readers
            or all(reader.op_type in ACTIVATIONS for reader in readers)
        ):
            continue
        if _ends_at_six(grid):
            ends = [_scalar(graph, f"{value.name}_{name}", end) for name, end in _SIX_ENDS.items()]
            node = ir.node("Clip", [value, *ends])
        else:
            node = ir.node("Relu", [value])
        node.doc_string = layer.doc_string
        result = node.outputs[0]
        result.name, result.shape, result.type = f"{value.name}_cut", value.shape, value.type
        ir.convenience.replace_all_uses_with(value, result)
        node.replace_input_with(0, value)
        graph.insert_after(layer, node)
        grids.activations[result] = grids.activations.pop(value)


_SIX_ENDS = {"low": 0.0, "high": SIX}


def _scalar(graph: "ir.Graph", name: str, number: float) -> "ir.Value":
    return add_initializer(graph, fresh_name(graph, name), np.asarray(number, np.float32))


def _ends_at_zero(grid: Grid) -> bool:
    ends = grid.axis is None and grid.dtype in ("uint8", "int8")
    return ends and int(grid.zero_point[0]) == np.iinfo(grid.dtype).min


def _ends_at_six(grid: Grid) -> bool:
    """To within half a step, which is what rounding would not tell apart."""
    scale, ends = float(grid.scale[0]), np.iinfo(grid.dtype)
    return abs((ends.max - ends.min) * scale - SIX) <= scale / 2
