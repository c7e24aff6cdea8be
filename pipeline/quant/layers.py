"""The nodes with weights, as arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.placement import Placement

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Layer:
    """A node with weights: its input tensor, its weights with the axis of the output channels,
    and its bias `[K]` in float64 (zeros where it has none)."""

    node: str
    source: str
    weight_name: str
    weight: NDArray[np.float32]
    axis: int
    bias: NDArray[np.float64]
    takes_bias: bool
    """A MatMul has no place for a bias, so nothing about its result can be corrected."""

    @property
    def channel_sums(self) -> NDArray[np.float64]:
        """Sum of the weights of every output channel, `[K]`."""
        others = tuple(i for i in range(self.weight.ndim) if i != self.axis)
        return np.asarray(self.weight.sum(axis=others, dtype=np.float64))


def find_layers(graph: "ir.Model", placement: Placement) -> list[Layer]:
    """All layers in graph order."""
    nodes = {node.name: node for node in graph.graph}
    layers = []
    for item in placement.weights:
        node = nodes[item.node]
        source = node.inputs[0]
        assert source is not None
        weight = array_of(node.inputs[1])
        has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
        bias = (
            array_of(node.inputs[2]).astype(np.float64)
            if has_bias
            else np.zeros(weight.shape[item.axis])
        )
        layers.append(
            Layer(
                item.node,
                source.name or "",
                item.name,
                weight,
                item.axis,
                bias.reshape(-1),
                node.op_type != "MatMul",
            )
        )
    return layers


def array_of(value: "ir.Value | None") -> NDArray[np.float32]:
    """The array of an initializer."""
    assert value is not None
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float32)
