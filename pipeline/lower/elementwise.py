"""Operators that work value by value: Add, Sub, Mul, and activations that are not fused."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.lower.lowering import (
    Lowering,
    NoTfliteForm,
    activation_word,
    input_of,
    static_shape,
)
from pipeline.lower.model_file import Quantization, Tensor
from pipeline.lower.rules import (
    FINEST_HARD_SWISH,
    FINEST_LEAKY,
    FINEST_SUM,
    require_coarse_result,
    require_fixed_scale,
    scale_of,
)
from pipeline.lower.versions import RESCALING_MUL

if TYPE_CHECKING:
    import onnx_ir as ir

HARD_SIGMOID = (1 / 6, 0.5)
"""Slope and offset of the HardSigmoid that TFLite can say: `relu6(x + 3) / 6`."""


def lower_binary(low: Lowering, node: "ir.Node") -> None:
    """Add, Sub and Mul, of two activations or of one and a constant."""
    result = low.result(node)
    swished = _hard_swish_source(low, node)
    if swished is not None:
        source = low.tensor(swished)
        require_coarse_result(node, [source], result, FINEST_HARD_SWISH)
        low.emit("HARD_SWISH", [source], result, low.schema.HardSwishOptionsT())
        return
    rank = len(result.shape)
    for value in (input_of(node, 0), input_of(node, 1)):
        if value.const_value is None and len(static_shape(value)) != rank:
            raise NoTfliteForm(node, f"{value.name} has fewer dimensions than its result")
    first, second = low.read(node, 0, rank), low.read(node, 1, rank)
    _emit_binary(low, node, node.op_type.upper(), first, second, result)


def lower_activation(low: Lowering, node: "ir.Node") -> None:
    """A Relu or Clip on its own; one that the integers' ends do by themselves only rescales."""
    source, result = low.tensor(input_of(node, 0)), low.result(node)
    word = activation_word(node, low.planned(node, node.outputs[0]))
    if word == "NONE":
        low.emit("QUANTIZE", [source], result, low.schema.QuantizeOptionsT())
    else:
        low.emit(word, [source], result)


def lower_leaky_relu(low: Lowering, node: "ir.Node") -> None:
    """LEAKY_RELU, which rescales what is positive and what is not each by a factor of its own."""
    source, result = low.tensor(input_of(node, 0)), low.result(node)
    require_coarse_result(node, [source], result, FINEST_LEAKY)
    options = low.schema.LeakyReluOptionsT(alpha=node.attributes.get_float("alpha", 0.01))
    low.emit("LEAKY_RELU", [source], result, options)


def lower_sigmoid(low: Lowering, node: "ir.Node") -> None:
    source, result = low.tensor(input_of(node, 0)), low.result(node)
    require_fixed_scale(node, result)
    low.emit("LOGISTIC", [source], result)


def lower_tanh(low: Lowering, node: "ir.Node") -> None:
    source, result = low.tensor(input_of(node, 0)), low.result(node)
    require_fixed_scale(node, result)
    low.emit("TANH", [source], result)


def lower_softmax(low: Lowering, node: "ir.Node") -> None:
    """Softmax over what is stored last: the channels of a feature map, or a row of features."""
    value = input_of(node, 0)
    source, result = low.tensor(value), low.result(node)
    require_fixed_scale(node, result)
    rank = len(static_shape(value))
    axis = node.attributes.get_int("axis", -1) % rank
    if axis != (1 if rank == 4 else rank - 1):
        raise NoTfliteForm(node, f"TFLite takes it over the channels only, not over axis {axis}")
    low.emit("SOFTMAX", [source], result, low.schema.SoftmaxOptionsT(beta=1.0))


def lower_hard_sigmoid(low: Lowering, node: "ir.Node") -> None:
    """`relu6(x + 3)` and its sixth: both in the result's integers, the second six times as fine.

    Where the Plan leaves it float it belongs to a Mul, which becomes HARD_SWISH.
    """
    attributes = node.attributes
    form = attributes.get_float("alpha", 0.2), attributes.get_float("beta", 0.5)
    if not np.allclose(form, HARD_SIGMOID, rtol=1e-6):
        raise NoTfliteForm(node, "TFLite has it only as relu6(x + 3) / 6")
    value = node.outputs[0]
    users = [use.node for use in value.uses()]
    if users and all(_hard_swish_source(low, user) is not None for user in users):
        return
    source, result = low.tensor(input_of(node, 0)), low.result(node)
    quantization = result.quantization
    assert quantization is not None
    six_times = Quantization((6 * quantization.scale[0],), quantization.zero_point)
    wide = low.file.tensor(f"{value.name}_six", result.shape, result.dtype, six_times)
    rank = len(result.shape)
    require_coarse_result(node, [source], wide, FINEST_SUM)
    three = _exact_constant(low, f"{value.name}_three", 3.0, result.dtype, rank)
    sixth = _exact_constant(low, f"{value.name}_sixth", 1 / 6, result.dtype, rank)
    options = low.schema.AddOptionsT(
        fusedActivationFunction=low.schema.ActivationFunctionType.RELU6
    )
    low.emit("ADD", [source, three], wide, options)
    _emit_binary(low, node, "MUL", wide, sixth, result)


def _emit_binary(
    low: Lowering, node: "ir.Node", kind: str, first: Tensor, second: Tensor, result: Tensor
) -> None:
    if kind != "MUL":
        require_coarse_result(node, [first, second], result, FINEST_SUM)
    options = getattr(low.schema, f"{kind.capitalize()}OptionsT")(
        fusedActivationFunction=low.activation(node)
    )
    rescales = kind == "MUL" and scale_of(first) * scale_of(second) >= scale_of(result)
    low.emit(kind, [first, second], result, options, at_least=RESCALING_MUL if rescales else 1)


def _exact_constant(low: Lowering, name: str, real: float, dtype: str, rank: int) -> Tensor:
    """A positive number that its scale makes exact: the largest integer of its type."""
    largest = int(np.iinfo(dtype).max)
    scale = float(np.float32(real / largest))
    values = np.full((1,) * rank, largest, dtype)
    return low.file.constant(name, values, Quantization((scale,), (0,)))


def _hard_swish_source(low: Lowering, node: "ir.Node") -> "ir.Value | None":
    """The x of a `Mul(x, HardSigmoid(x))` whose second factor the Plan leaves float."""
    if node.op_type != "Mul":
        return None
    values = [input_of(node, 0), input_of(node, 1)]
    for x, gate in (values, values[::-1]):
        made_by = gate.producer()
        if (
            made_by is not None
            and made_by.op_type == "HardSigmoid"
            and made_by.inputs[0] is x
            and gate.name not in low.plan.activations
        ):
            return x
    return None
