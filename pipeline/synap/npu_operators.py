"""Which operators of a Graph SyNAP's NPU runs slowly or does not know, in words.

SyNAP's manual says for every operator which engine of the NPU runs it in 8 bits (`npu_operators.rst`
of synaptics-synap/doc, commit 347bc2c; for uint8 and int8 alike). The convolution engine (NN) is the
fast one; the tensor processor (TP) moves and looks up; the programmable unit (PPU) is slow. What the
toolkit's compiler fuses or rewrites on the way is not published, so this is what to expect and not a
measurement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx_ir as ir

Engine = Literal["NN", "NN or TP", "TP", "PPU"]
Effect = Literal["unknown", "slow", "slower"]


@dataclass(frozen=True)
class Row:
    """A row of the manual's tables: its name of the operator, and the engine that runs it."""

    name: str
    engine: Engine


OPERATORS: Mapping[str, Row] = {
    # Basic operations
    "Conv": Row("CONV2D, GROUPED_CONV2D", "NN"),
    "ConvTranspose": Row("DECONVOLUTION", "NN"),
    "Gemm": Row("FULLY_CONNECTED", "TP"),
    # Activation operations; those with TP and PPU are counted as TP
    "Clip": Row("CLIP, RELUN", "TP"),
    "Elu": Row("ELU", "TP"),
    "Erf": Row("ERF", "TP"),
    "Exp": Row("EXP", "PPU"),
    "HardSigmoid": Row("HARD_SIGMOID", "TP"),
    "LeakyRelu": Row("LEAKY_RELU", "TP"),
    "Log": Row("LOG", "TP"),
    "LogSoftmax": Row("LOG_SOFTMAX", "PPU"),
    "Abs": Row("ABS", "TP"),
    "Neg": Row("NEG", "TP"),
    "PRelu": Row("PRELU", "TP"),
    "Relu": Row("RELU", "TP"),
    "Sigmoid": Row("SIGMOID", "TP"),
    "Sin": Row("SIN", "PPU"),
    "Softmax": Row("SOFTMAX", "PPU"),
    "Softplus": Row("SOFTRELU", "PPU"),
    "Sqrt": Row("SQRT", "PPU"),
    "Tanh": Row("TANH", "TP"),
    # Elementwise operations
    "Add": Row("ADD", "NN"),
    "Sub": Row("SUBTRACT", "NN"),
    "Mul": Row("MULTIPLY", "PPU"),
    "Div": Row("DIVIDE", "PPU"),
    "Max": Row("MAXIMUM", "PPU"),
    "Min": Row("MINIMUM", "PPU"),
    "Pow": Row("POW", "PPU"),
    "MatMul": Row("MATRIXMUL", "PPU"),
    "Where": Row("SELECT", "PPU"),
    "Equal": Row("RELATIONAL_OPS", "PPU"),
    "Greater": Row("RELATIONAL_OPS", "PPU"),
    "Less": Row("RELATIONAL_OPS", "PPU"),
    # Normalization operations
    "BatchNormalization": Row("BATCH_NORM", "PPU"),
    "InstanceNormalization": Row("INSTANCE_NORM", "PPU"),
    "LRN": Row("LRN2", "TP"),
    # Reshape operations
    "Concat": Row("CONCAT", "TP"),
    "DepthToSpace": Row("DEPTH2SPACE", "TP"),
    "Expand": Row("EXPAND_BROADCAST", "PPU"),
    "Flatten": Row("RESHAPE", "TP"),
    "Pad": Row("PAD", "TP"),
    "Reshape": Row("RESHAPE", "TP"),
    "Slice": Row("STRIDED_SLICE", "TP"),
    "SpaceToDepth": Row("SPACE2DEPTH", "TP"),
    "Split": Row("SPLIT", "TP"),
    "Squeeze": Row("SQUEEZE", "TP"),
    "Transpose": Row("PERMUTE", "TP"),
    "Unsqueeze": Row("RESHAPE", "TP"),
    "ArgMax": Row("ARGMAX", "PPU"),
    "ReduceMax": Row("REDUCE", "PPU"),
    "ReduceMean": Row("REDUCE", "PPU"),
    "ReduceSum": Row("REDUCE", "PPU"),
    # Pooling operations
    "AveragePool": Row("POOL", "NN or TP"),
    "GlobalAveragePool": Row("POOL", "NN or TP"),
    "GlobalMaxPool": Row("POOL", "NN or TP"),
    "MaxPool": Row("POOL", "NN or TP"),
    # Miscellaneous operations
    "Cast": Row("CAST", "PPU"),
    "Ceil": Row("CEIL", "PPU"),
    "DequantizeLinear": Row("DATACONVERT", "TP"),
    "Floor": Row("FLOOR", "PPU"),
    "Gather": Row("GATHER", "PPU"),
    "GatherND": Row("GATHER_ND", "PPU"),
    "OneHot": Row("ONE_HOT", "PPU"),
    "QuantizeLinear": Row("DATACONVERT", "TP"),
    "Resize": Row("RESIZE", "PPU"),
    "Round": Row("ROUND", "PPU"),
    "ScatterND": Row("SCATTER_ND", "PPU"),
    "Tile": Row("TILE", "PPU"),
}
"""By ONNX operator. What is not here is not in the manual's tables."""

MANUAL = "SyNAP's manual"
LARGEST_KERNEL = 15
_WHY: Mapping[Effect, str] = {
    "unknown": f"{MANUAL} does not list it: the toolkit may refuse the model",
    "slow": "the NPU runs it on its slow programmable unit",
    "slower": "not on the convolution engine alone, because of its stride or size: slower",
}
_EFFECTS: tuple[Effect, ...] = ("unknown", "slow", "slower")
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """An operator that the NPU does not run well: what becomes of it, how often, and where."""

    operator: str
    effect: Effect
    count: int
    examples: tuple[str, ...]
    """Names of the first nodes, as far as they have names."""

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        where = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.count} x {self.operator}{where}: {_WHY[self.effect]}"


def npu_findings(graph: "ir.Graph") -> list[Finding]:
    """What of a float Graph the NPU does not run well, the worst first, then the most frequent."""
    return _grouped(
        (effect, node.op_type, node.name or "")
        for node in graph
        if (effect := _effect_of_node(node)) is not None
    )


def findings_of_operators(counts: Mapping[str, int]) -> list[Finding]:
    """The same where only the operators are known, as of a file that is inspected; without the
    convolutions that their form makes slower."""
    found = [
        Finding(operator, effect, count, ())
        for operator, count in counts.items()
        if count and (effect := effect_of(operator)) is not None
    ]
    return sorted(found, key=_order)


def effect_of(operator: str) -> Effect | None:
    """What the NPU makes of an ONNX operator whatever its attributes; None where it runs well."""
    row = OPERATORS.get(operator)
    if row is None:
        return "unknown"
    return "slow" if row.engine == "PPU" else None


def _effect_of_node(node: "ir.Node") -> Effect | None:
    if node.domain not in ("", "ai.onnx"):
        return "unknown"
    if node.op_type == "Conv" and not _is_pure(node):
        return "slower"
    return effect_of(node.op_type)


def _is_pure(conv: "ir.Node") -> bool:
    """Stride 1, kernel and kernel plus dilation of at most 15 (the manual's note on convolutions).

    Without dilation, which ONNX writes as 1, the kernel alone counts.
    """
    strides = conv.attributes.get_ints("strides") or [1]
    dilations = conv.attributes.get_ints("dilations") or [1]
    weight = conv.inputs[1]
    stated = list(weight.shape)[2:] if weight is not None and weight.shape is not None else []
    kernel = conv.attributes.get_ints("kernel_shape") or [s for s in stated if isinstance(s, int)]
    reach = max(kernel, default=1) + (max(dilations) if max(dilations) > 1 else 0)
    return max(strides) == 1 and reach <= LARGEST_KERNEL


def _grouped(found: Iterable[tuple[Effect, str, str]]) -> list[Finding]:
    names: dict[tuple[Effect, str], list[str]] = {}
    for effect, operator, name in found:
        names.setdefault((effect, operator), []).append(name)
    findings = [
        Finding(operator, effect, len(nodes), tuple(name for name in nodes[:_EXAMPLES] if name))
        for (effect, operator), nodes in names.items()
    ]
    return sorted(findings, key=_order)


def _order(finding: Finding) -> tuple[int, int, str]:
    return _EFFECTS.index(finding.effect), -finding.count, finding.operator
