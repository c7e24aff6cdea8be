"""The weights of a Graph as arrays that rewrites change, and the way back into the Graph."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.equalize.coupling import is_constant, is_depthwise

if TYPE_CHECKING:
    import onnx_ir as ir

Float = NDArray[np.float64]


class Weights:
    """float64 weights and biases of all Conv and Gemm nodes, by node name.

    `outgoing(node)` is a view `[K, ...]` by output channel, `incoming(node)` a view `[C, ...]` by
    input channel; writing into a view writes the weights.
    """

    def __init__(self, graph: "ir.Graph") -> None:
        self._graph = graph
        self._nodes = {
            node.name or "": node
            for node in graph
            if node.op_type in ("Conv", "Gemm") and is_constant(node, 1)
        }
        self._weight = {name: _array(node.inputs[1]) for name, node in self._nodes.items()}
        self._bias = {
            name: _array(node.inputs[2]).reshape(-1) if is_constant(node, 2) else None
            for name, node in self._nodes.items()
        }

    def outgoing(self, name: str) -> Float:
        """By output channel."""
        return np.moveaxis(self._weight[name], self._output_axis(name), 0)

    def incoming(self, name: str) -> Float:
        """By input channel; a depthwise convolution's rows are both."""
        node = self._nodes[name]
        if node.op_type == "Conv" and is_depthwise(node):
            return self._weight[name]
        return np.moveaxis(self._weight[name], 1 - self._output_axis(name), 0)

    def is_depthwise(self, name: str) -> bool:
        return self._nodes[name].op_type == "Conv" and is_depthwise(self._nodes[name])

    def bias(self, name: str) -> Float:
        """The bias `[K]`, made where the node has none."""
        found = self._bias[name]
        if found is None:
            found = self._bias[name] = np.zeros(len(self.outgoing(name)))
        return found

    def has_bias(self, name: str) -> bool:
        return self._bias[name] is not None

    def write_back(self) -> None:
        """Store everything in the Graph, as float32."""
        from pipeline.graph.initializers import add_initializer

        for name, node in self._nodes.items():
            _store(node.inputs[1], self._weight[name])
            bias = self._bias[name]
            if bias is None:
                continue
            if len(node.inputs) > 2 and node.inputs[2] is not None:
                _store(node.inputs[2], bias)
            else:
                node.resize_inputs(3)
                value = add_initializer(self._graph, f"{name}_bias", bias.astype(np.float32))
                node.replace_input_with(2, value)

    def _output_axis(self, name: str) -> int:
        node = self._nodes[name]
        return 1 if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0) else 0


def _array(value: "ir.Value | None") -> Float:
    assert value is not None
    assert value.const_value is not None
    return np.array(value.const_value.numpy(), np.float64)


def _store(value: "ir.Value | None", array: Float) -> None:
    import onnx_ir as ir

    assert value is not None
    assert value.const_value is not None
    shape = value.const_value.shape.numpy()
    value.const_value = ir.tensor(array.reshape(shape).astype(np.float32), name=value.name)
