"""Graph and Plan to a TFLite file: every operator that has a place in it.

A new operator is a function and a line in `OPERATORS`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pipeline.errors import NoFormError
from pipeline.lower import convolution, elementwise, padding, pooling, shapes
from pipeline.lower.lowering import Lowering
from pipeline.quant.placement import ACTIVATIONS, WEIGHT_AXIS, fused_activation
from pipeline.quant.plan import Plan

if TYPE_CHECKING:
    import onnx_ir as ir

    from pipeline.lower.model_file import Tensor

OPERATORS: dict[str, Callable[[Lowering, "ir.Node"], None]] = {
    "Add": elementwise.lower_binary,
    "AveragePool": pooling.lower_average_pool,
    "Clip": elementwise.lower_activation,
    "Concat": shapes.lower_concat,
    "Conv": convolution.lower_conv,
    "Flatten": shapes.lower_reshape,
    "Gemm": convolution.lower_gemm,
    "GlobalAveragePool": pooling.lower_global_average,
    "HardSigmoid": elementwise.lower_hard_sigmoid,
    "LeakyRelu": elementwise.lower_leaky_relu,
    "MatMul": convolution.lower_gemm,
    "MaxPool": pooling.lower_max_pool,
    "Mul": elementwise.lower_binary,
    "Pad": padding.lower_pad,
    "ReduceMean": pooling.lower_global_average,
    "Relu": elementwise.lower_activation,
    "Reshape": shapes.lower_reshape,
    "Sigmoid": elementwise.lower_sigmoid,
    "Slice": shapes.lower_slice,
    "Softmax": elementwise.lower_softmax,
    "Split": shapes.lower_split,
    "Squeeze": shapes.lower_reshape,
    "Sub": elementwise.lower_binary,
    "Tanh": elementwise.lower_tanh,
    "Transpose": shapes.lower_transpose,
    "Unsqueeze": shapes.lower_reshape,
}

DESCRIPTION = "integer model of synap-pipeline"


class Lowered:
    """A model in TFLite's operators, not yet a file. Lowering raises StageError, naming operator
    and node, for what has no place in TFLite."""

    def __init__(self, model: "ir.Model", plan: Plan) -> None:
        import onnx_ir.passes.common as passes

        from pipeline.graph.canonical import fix_batch

        model = model.clone()
        fix_batch(model, 1)
        passes.ShapeInferencePass()(model)
        _require_known(model.graph)
        lowering = Lowering(model.graph, plan)
        for node in model.graph:
            if not _is_fused(node):
                OPERATORS[node.op_type](lowering, node)
        self._file = lowering.file
        self.inputs = lowering.inputs
        self.outputs: list[Tensor] = [lowering.tensor(value) for value in model.graph.outputs]

    @property
    def kinds(self) -> list[str]:
        """TFLite's names of the operators, in order."""
        return self._file.kinds(self.outputs)

    def to_bytes(self, metadata: Mapping[str, bytes]) -> bytes:
        """The file's content, with these metadata in it; batch size 1."""
        return self._file.to_bytes(self.inputs, self.outputs, DESCRIPTION, metadata)


def _require_known(graph: "ir.Graph") -> None:
    """Every kind of operator that has no place, at once, with the first node of each."""
    unknown: dict[str, list[ir.Node]] = {}
    for node in graph:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            unknown.setdefault(node.op_type, []).append(node)
        elif node.op_type in WEIGHT_AXIS and not _has_weights(node):
            unknown.setdefault(f"{node.op_type} of two activations", []).append(node)
    if unknown:
        named = "; ".join(_counted(kind, nodes) for kind, nodes in unknown.items())
        raise NoFormError(
            f"no place in TFLite for {named}",
            hint="compile.handoff: onnx has the toolkit quantize the float ONNX itself, and "
            "compile.delegate: cpu makes a CPU bundle; or replace these operators in the model",
        )


def _has_weights(node: "ir.Node") -> bool:
    """Whether a layer's second input is constant; attention multiplies what it has computed."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    return value is not None and value.const_value is not None


def _counted(kind: str, nodes: "list[ir.Node]") -> str:
    """An operator, how often it is there, and the first of its nodes by the Graph's name and by that
    of the exported model."""
    first = nodes[0]
    names = dict.fromkeys(name for name in (first.name, first.doc_string) if name)
    return f"{len(nodes)} x {kind} (first {', '.join(names)})"


def _is_fused(node: "ir.Node") -> bool:
    """Whether a Relu or Clip disappears into the node before it."""
    if node.op_type not in ACTIVATIONS or node.inputs[0] is None:
        return False
    producer = node.inputs[0].producer()
    return producer is not None and fused_activation(producer) is node
