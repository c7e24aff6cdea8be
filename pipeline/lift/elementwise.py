"""Operators that work value by value, activations that are fused into others, and SOFTMAX."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.lift.layout import onnx_array
from pipeline.lift.lifting import Lifting
from pipeline.lift.subgraph import Operator

if TYPE_CHECKING:
    import onnx_ir as ir

BINARY = {"ADD": "Add", "MUL": "Mul", "SUB": "Sub"}
UNARY = {"LOGISTIC": "Sigmoid", "RELU": "Relu", "TANH": "Tanh"}
BOUNDS = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
"""Activations with two ends, which are Clip in ONNX."""
FUSED = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH")
"""TFLite's words for what other operators do to their results."""


def lift_binary(lifting: Lifting, operator: Operator) -> "ir.Value":
    """ADD, MUL and SUB, of two activations or of one and a constant."""
    rank = len(lifting.result(operator).shape)
    inputs = []
    for index in range(2):
        tensor = lifting.tensor(operator, index)
        if tensor.is_constant and len(tensor.shape) <= rank:
            inputs.append(lifting.store(onnx_array(lifting.constant(operator, index), rank)))
        elif len(tensor.shape) != rank:
            raise lifting.refused(
                operator, f"{tensor.name!r} has {len(tensor.shape)} dimensions, its result {rank}"
            )
        else:
            inputs.append(lifting.value(operator, index))
    if all(lifting.tensor(operator, index).is_constant for index in range(2)):
        raise lifting.refused(operator, "both its inputs are constant")
    return lifting.emit(BINARY[operator.kind], operator, inputs)


def lift_activation(lifting: Lifting, operator: Operator) -> "ir.Value":
    return _activated(lifting, operator, lifting.value(operator, 0), operator.kind)


def lift_fused(lifting: Lifting, operator: Operator, value: "ir.Value") -> "ir.Value":
    """The result of an operator behind the activation that is fused into it."""
    code = getattr(operator.options, "fusedActivationFunction", 0)
    words = vars(lifting.schema.ActivationFunctionType).items()
    word = next((name for name, number in words if number == code and name in FUSED), None)
    if word is None:
        raise lifting.refused(operator, f"the activation {code} is fused into it")
    return value if word == "NONE" else _activated(lifting, operator, value, word)


def lift_hard_swish(lifting: Lifting, operator: Operator) -> "ir.Value":
    """`x relu6(x + 3) / 6`, for which ONNX has a name only from opset 14 on."""
    value = lifting.value(operator, 0)
    gate = lifting.emit("HardSigmoid", operator, [value], alpha=1 / 6, beta=0.5)
    return lifting.emit("Mul", operator, [value, gate])


def lift_leaky_relu(lifting: Lifting, operator: Operator) -> "ir.Value":
    """`x` where it is positive, and a part of it where not."""
    part = float(lifting.options(operator, "LeakyReluOptions").alpha)
    return lifting.emit("LeakyRelu", operator, [lifting.value(operator, 0)], alpha=part)


def lift_softmax(lifting: Lifting, operator: Operator) -> "ir.Value":
    """SOFTMAX over what is stored last."""
    beta = float(lifting.options(operator, "SoftmaxOptions").beta)
    if beta != 1.0:
        raise lifting.refused(operator, f"its beta is {beta:g}; only 1 is known")
    rank = len(lifting.tensor(operator, 0).shape)
    axis = 1 if rank == 4 else rank - 1
    return lifting.emit("Softmax", operator, [lifting.value(operator, 0)], axis=axis)


def _activated(lifting: Lifting, operator: Operator, value: "ir.Value", word: str) -> "ir.Value":
    if word in UNARY:
        return lifting.emit(UNARY[word], operator, [value])
    ends = [lifting.store(np.array(end, np.float32)) for end in BOUNDS[word]]
    return lifting.emit("Clip", operator, [value, *ends])
