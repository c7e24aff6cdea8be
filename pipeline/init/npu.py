"""What of a model the NPU does not run well, whatever form the model has."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.synap.npu_operators import findings_of_operators, npu_findings

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

TFLITE: Mapping[str, str] = {
    "ADD": "Add", "AVERAGE_POOL_2D": "AveragePool", "CONCATENATION": "Concat", "CONV_2D": "Conv",
    "DEPTHWISE_CONV_2D": "Conv", "DEQUANTIZE": "DequantizeLinear", "DIV": "Div",
    "FULLY_CONNECTED": "Gemm", "GATHER": "Gather", "LEAKY_RELU": "LeakyRelu",
    "LOGISTIC": "Sigmoid", "LOG_SOFTMAX": "LogSoftmax", "MAXIMUM": "Max", "MAX_POOL_2D": "MaxPool",
    "MEAN": "ReduceMean", "MINIMUM": "Min", "MUL": "Mul", "PAD": "Pad", "PADV2": "Pad",
    "PRELU": "PRelu", "QUANTIZE": "QuantizeLinear", "RELU": "Relu", "RELU6": "Clip",
    "RESHAPE": "Reshape", "RESIZE_BILINEAR": "Resize", "RESIZE_NEAREST_NEIGHBOR": "Resize",
    "SLICE": "Slice", "SOFTMAX": "Softmax", "SPLIT": "Split", "SPLIT_V": "Split", "SQUEEZE": "Squeeze",
    "STRIDED_SLICE": "Slice", "SUB": "Sub", "SUM": "ReduceSum", "TANH": "Tanh",
    "TRANSPOSE": "Transpose", "TRANSPOSE_CONV": "ConvTranspose",
}  # fmt: skip
"""ONNX's operators for TFLite's; one without is shown under its own name, as not listed."""


@dataclass(frozen=True)
class GraphFacts:
    """What a canonical Graph shows."""

    npu: tuple[str, ...]
    depthwise: bool


def facts_of_graph(graph: "ir.Model") -> GraphFacts:
    """What a canonical float Graph shows."""
    depthwise = any(
        node.op_type == "Conv" and node.attributes.get_int("group", 1) > 1 and _is_single(node)
        for node in graph.graph
    )
    return GraphFacts(tuple(map(str, npu_findings(graph.graph))), depthwise)


def facts_of_module(model: "nn.Module", size: int) -> GraphFacts:
    """What a PyTorch classifier shows, as the `export` stage would write it. Raises StageError
    where that cannot be done."""
    from pipeline.graph.tracing import graph_of_module

    return facts_of_graph(graph_of_module(model, size))


def npu_of_tflite(operators: Mapping[str, int]) -> tuple[str, ...]:
    """The same of a TFLite file, by its counts of operators."""
    counts: Counter[str] = Counter()
    for operator, count in operators.items():
        counts[TFLITE.get(operator, operator)] += count
    return tuple(map(str, findings_of_operators(counts)))


def _is_single(conv: "ir.Node") -> bool:
    """Whether each group is one channel."""
    weight = conv.inputs[1]
    return weight is not None and weight.shape is not None and weight.shape[1] == 1
