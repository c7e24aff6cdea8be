"""What operators are lifted with: the file's tensors as values of a Graph in ONNX's order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StageError
from pipeline.graph.canonical import BATCH, IR_VERSION, OPSET
from pipeline.graph.initializers import add_initializer
from pipeline.lift.layout import onnx_shape
from pipeline.lift.subgraph import ABSENT, Operator, Subgraph, Tensor

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray


TENSOR = "tensor"
"""Values that are tensors of the file are called by this and the tensor's number."""


class NoGraphForm(StageError):
    """An operator of the file has no place in the float Graph."""

    def __init__(self, file: str, subgraph: Subgraph, operator: Operator, reason: str) -> None:
        super().__init__(reason, where=f"{file}: {subgraph.place_of(operator)}")


class Lifting:
    """The Graph that is being built, and the values that the file's tensors have in it."""

    def __init__(self, subgraph: Subgraph, file: str) -> None:
        import onnx_ir as ir
        from ai_edge_litert import schema_py_generated

        self.schema: Any = schema_py_generated
        self.subgraph, self._file = subgraph, file
        (image,) = subgraph.inputs
        self.batch = image.shape[0]
        value = ir.Value(
            name="input",
            shape=ir.Shape([BATCH, *onnx_shape(image.shape)[1:]]),
            type=ir.TensorType(ir.DataType.FLOAT),
        )
        self.graph = ir.Graph([value], [], nodes=[], opset_imports={"": OPSET}, name="graph")
        self._values = {image.index: value}
        self._rows: dict[int, tuple[int, ...]] = {}
        self._count = 0

    def model(self, scores: Tensor) -> "ir.Model":
        """The finished model, whose output is the value of the scores."""
        import onnx_ir as ir

        value = self._values[scores.index]
        value.shape = ir.Shape([BATCH, *onnx_shape(scores.shape)[1:]])
        value.type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.outputs.append(value)
        return ir.Model(self.graph, ir_version=IR_VERSION)

    def tensor(self, operator: Operator, index: int) -> Tensor:
        """What an operator reads at this place."""
        if not self.has(operator, index):
            raise self.refused(operator, f"its input {index} is missing")
        return self.subgraph.tensors[operator.inputs[index]]

    def has(self, operator: Operator, index: int) -> bool:
        """Whether an operator has this input."""
        return index < len(operator.inputs) and operator.inputs[index] != ABSENT

    def result(self, operator: Operator) -> Tensor:
        """The only tensor that an operator makes."""
        if len(operator.outputs) != 1:
            raise self.refused(operator, f"it has {len(operator.outputs)} results")
        return self.subgraph.tensors[operator.outputs[0]]

    def results(self, operator: Operator) -> list[Tensor]:
        """All tensors that an operator makes."""
        return [self.subgraph.tensors[index] for index in operator.outputs]

    def value(self, operator: Operator, index: int) -> "ir.Value":
        """An activation that an operator reads."""
        tensor = self.tensor(operator, index)
        if tensor.is_constant:
            raise self.refused(operator, f"{tensor.name!r}, which it works on, is a constant")
        return self._values[tensor.index]

    def constant(self, operator: Operator, index: int, kind: type = np.floating) -> "NDArray[Any]":
        """A constant that an operator reads, as it is stored: real numbers or integers."""
        tensor = self.tensor(operator, index)
        if tensor.values is None:
            raise self.refused(operator, f"its input {tensor.name!r} is not a constant")
        if not np.issubdtype(tensor.values.dtype, kind) or tensor.dtype in ("float16", "float64"):
            raise self.refused(
                operator,
                f"its constant {tensor.name!r} is {tensor.dtype}; a float model has float32 weights, "
                "or float16 ones behind a DEQUANTIZE",
            )
        if kind is np.floating and not np.isfinite(tensor.values).all():
            raise self.refused(
                operator, f"its constant {tensor.name!r} has values that are not finite"
            )
        return tensor.values

    def options(self, operator: Operator, name: str) -> Any:
        """The options of an operator, which have to be of its own kind."""
        wanted = getattr(self.schema, f"{name}T")
        if not isinstance(operator.options, wanted):
            raise self.refused(operator, f"it has no {name}")
        return operator.options

    def emit(
        self, kind: str, operator: Operator, inputs: "Sequence[ir.Value]", **attributes: Any
    ) -> "ir.Value":
        """Append a node and give its result; it is named after what the operator makes."""
        return self.emit_several(kind, operator, inputs, 1, **attributes)[0]

    def emit_several(
        self,
        kind: str,
        operator: Operator,
        inputs: "Sequence[ir.Value]",
        count: int,
        **attributes: Any,
    ) -> "list[ir.Value]":
        """Append a node of `count` results and give them."""
        import onnx_ir as ir

        name = self.subgraph.tensors[operator.outputs[0]].name
        node = ir.node(
            kind, list(inputs), attributes=attributes, num_outputs=count, name=f"{name}/{kind}"
        )
        for value in node.outputs:
            self._count += 1
            value.name = f"value{self._count}"
        self.graph.append(node)
        return list(node.outputs)

    def store(self, array: "NDArray[Any]") -> "ir.Value":
        """A constant of the Graph, in ONNX's order."""
        self._count += 1
        return add_initializer(self.graph, f"constant{self._count}", np.ascontiguousarray(array))

    def set(self, tensor: Tensor, value: "ir.Value") -> None:
        """Say which value a tensor of the file is, and name it so that it can be told."""
        value.name = f"{TENSOR}{tensor.index}"
        self._values[tensor.index] = value

    def set_rows(self, tensor: Tensor, stored: tuple[int, ...]) -> None:
        """Say that a row of features is the feature map `stored` in ONNX's order, not in the file's,
        so that who reads it has to reorder its weights."""
        self._rows[tensor.index] = stored

    def rows(self, tensor: Tensor) -> tuple[int, ...] | None:
        """The feature map that a row of features is in ONNX's order, if `set_rows` said so."""
        return self._rows.get(tensor.index)

    def refused(self, operator: Operator, reason: str) -> NoGraphForm:
        """The error for an operator that cannot be lifted."""
        return NoGraphForm(self._file, self.subgraph, operator, reason)
