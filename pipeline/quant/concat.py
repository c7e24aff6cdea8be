"""Concatenations whose branches have very different ranges.

The widest branch sets the scale of the result, and a branch of a hundredth of its range keeps two
or three of the 256 steps. Nothing an integer format can repair: it has to be known by name.
"""

from typing import TYPE_CHECKING

from pipeline.quant.placement import KEEPS_SCALE
from pipeline.quant.plan import Plan

if TYPE_CHECKING:
    import onnx_ir as ir

RATIO = 16.0
"""A branch with less than this part of the widest range keeps fewer than 4 of its 8 bits."""


def unbalanced_concats(graph: "ir.Graph", plan: Plan) -> list[str]:
    """A line for every concatenation with a branch much narrower than another, by name."""
    found = []
    for node in graph:
        if node.op_type != "Concat":
            continue
        widths = {
            value.name: _width(plan, value)
            for value in node.inputs
            if value is not None and value.name in plan.activations
        }
        widest = max(widths, key=lambda name: widths[name] or 0.0, default=None)
        if widest is None or not widths[widest]:
            continue
        for name, width in widths.items():
            if width and widths[widest] > RATIO * width:
                found.append(
                    f"{node.name}: {name} spans {width:.3g}, {widest} {widths[widest]:.3g}"
                )
    return found


def _width(plan: Plan, value: "ir.Value") -> float:
    """How wide the range is that was chosen for a branch; of what only moves or averages values,
    that of what it reads."""
    node = value.producer()
    while node is not None and node.op_type in KEEPS_SCALE and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    tensor = plan.activations.get(value.name or "")
    if tensor is None or tensor.minimum is None or tensor.maximum is None:
        return 0.0
    return tensor.maximum - tensor.minimum
