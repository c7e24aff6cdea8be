"""What operators are lowered with: the Graph's values as tensors of the file, as the Plan says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import NoFormError, StageError
from pipeline.lower.layout import stored_array, stored_shape
from pipeline.lower.model_file import ModelFile, Quantization, Tensor
from pipeline.lower.versions import lowest_version
from pipeline.quant.integers import weight_integers
from pipeline.quant.layers import array_of
from pipeline.quant.placement import activation_bounds, fused_activation
from pipeline.quant.plan import TYPES, Plan, TensorPlan

if TYPE_CHECKING:
    import onnx_ir as ir


class NoTfliteForm(NoFormError):
    """A node of the Graph, or what the Plan says of it, has no place in TFLite."""

    def __init__(self, node: "ir.Node", reason: str) -> None:
        hint = ""
        if node.doc_string and node.doc_string != node.name:
            hint = f"the node is {node.doc_string} of the exported model"
        super().__init__(reason, where=f"{node.op_type} {node.name}", hint=hint)


class Lowering:
    """The file that is being built, and the tensors that the Graph's values have in it."""

    def __init__(self, graph: "ir.Graph", plan: Plan) -> None:
        from ai_edge_litert import schema_py_generated

        self.plan = plan
        self.file = ModelFile()
        self.schema: Any = schema_py_generated
        self._tensors: dict[str, Tensor] = {}
        self.inputs = [self._add_input(value) for value in graph.inputs]

    def _add_input(self, value: "ir.Value") -> Tensor:
        name = value.name or ""
        if name not in self.plan.activations:
            raise StageError(f"the Plan says nothing of the model's input {name}")
        return self._add(value, self.plan.activations[name])

    def _add(self, value: "ir.Value", tensor: TensorPlan) -> Tensor:
        name = value.name or ""
        made = self.file.tensor(
            name, stored_shape(static_shape(value)), tensor.data_type, quantization_of(tensor)
        )
        self._tensors[name] = made
        return made

    def planned(self, node: "ir.Node", value: "ir.Value") -> TensorPlan:
        """What the Plan says of an activation of this node."""
        tensor = self.plan.activations.get(value.name or "")
        if tensor is None:
            raise NoTfliteForm(node, f"the Plan leaves {value.name} float")
        if tensor.data_type != self.plan.data_type or tensor.axis is not None:
            raise NoTfliteForm(
                node,
                f"the Plan has {value.name} in a form of its own; TFLite wants all activations in "
                f"{self.plan.data_type} with one scale each",
            )
        return tensor

    def read(self, node: "ir.Node", index: int, rank: int = 4) -> Tensor:
        """A node's input: an activation, or a constant to broadcast against `rank` dimensions."""
        value = input_of(node, index)
        if value.const_value is None:
            return self.tensor(value)
        name = value.name or ""
        tensor = self.plan.weights.get(name)
        if tensor is None or tensor.axis is not None:
            raise NoTfliteForm(node, f"the Plan has no scale for its constant {name}")
        if name not in self._tensors:
            integers = stored_array(weight_integers(array_of(value), tensor), rank)
            self._tensors[name] = self.file.constant(name, integers, quantization_of(tensor))
        return self._tensors[name]

    def tensor(self, value: "ir.Value") -> Tensor:
        """The tensor of an activation that was made before."""
        return self._tensors[value.name or ""]

    def result(self, node: "ir.Node") -> Tensor:
        """A new tensor for what a node gives, behind an activation that is fused into it."""
        value = result_of(node)
        planned, own = (
            self.planned(node, value),
            self.plan.activations.get(node.outputs[0].name or ""),
        )
        if own is not None and (own.scale, own.zero_point) != (planned.scale, planned.zero_point):
            raise NoTfliteForm(
                node,
                f"the Plan has its result in other integers than the activation behind it, "
                f"{value.name}; TFLite computes both at once",
            )
        return self._add(value, planned)

    def results(self, node: "ir.Node") -> list[Tensor]:
        """New tensors for all that a node gives, where it gives several and nothing is fused."""
        return [self._add(value, self.planned(node, value)) for value in node.outputs]

    def between(self, like: Tensor, suffix: str, shape: Sequence[int], result: Tensor) -> Tensor:
        """A new tensor on the way to `result` in the scale of `like`, named after it."""
        name = f"{self.file.name(result)}_{suffix}"
        return self.file.tensor(name, shape, like.dtype, like.quantization)

    def parameter(self, result: Tensor, suffix: str, values: Any) -> Tensor:
        """An int32 constant of the operator that makes `result`, such as axes or pads."""
        name = f"{self.file.name(result)}_{suffix}"
        return self.file.constant(name, np.asarray(values, np.int32))

    def emit(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        output: Tensor,
        options: Any = None,
        *,
        at_least: int = 1,
    ) -> None:
        """Append an operator of the lowest version that has its meaning; `at_least` is what its
        options demand."""
        version = max(lowest_version(kind, output.dtype), at_least)
        self.file.operator(kind, version, inputs, output, options)

    def activation(self, node: "ir.Node") -> int:
        """The schema's number for the activation that is fused into a node."""
        fused = fused_activation(node)
        if fused is None:
            return int(self.schema.ActivationFunctionType.NONE)
        word = activation_word(fused, self.planned(node, fused.outputs[0]))
        return int(getattr(self.schema.ActivationFunctionType, word))


def activation_word(node: "ir.Node", tensor: TensorPlan) -> str:
    """TFLite's word for a Relu or Clip whose result is `tensor`; NONE where the integers end at its
    bounds by themselves."""
    low, high = activation_bounds(node)
    known = {(0.0, None): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
    if (low, high) in known:
        return known[low, high]
    type, zero_point = TYPES[tensor.data_type], tensor.zero_point[0]
    ends = (type.minimum - zero_point, type.maximum - zero_point)
    inside = tensor.scale[0] * (ends[0] + 0.5) >= low
    if inside and (high is None or tensor.scale[0] * (ends[1] - 0.5) <= high):
        return "NONE"
    raise NoTfliteForm(node, f"TFLite has no activation from {low:g} to {high}")


def quantization_of(tensor: TensorPlan, axis: int = 0) -> Quantization:
    """A Plan's entry as TFLite writes it; `axis` is where its axis is stored."""
    return Quantization(tensor.scale, tensor.zero_point, axis)


def result_of(node: "ir.Node") -> "ir.Value":
    """What a node gives, behind an activation that is fused into it."""
    fused = fused_activation(node)
    return (node if fused is None else fused).outputs[0]


def input_of(node: "ir.Node", index: int) -> "ir.Value":
    """A node's input that has to be there."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise NoTfliteForm(node, f"its input {index} is missing")
    return value


def static_shape(value: "ir.Value") -> tuple[int, ...]:
    """A value's shape in ONNX's order. Raises StageError where it is not known."""
    sides = () if value.shape is None else tuple(value.shape)
    if value.shape is None or not all(isinstance(side, int) for side in sides):
        raise StageError(f"the Graph does not say the shape of {value.name}: {value.shape}")
    return tuple(int(side) for side in sides)  # type: ignore[arg-type]
