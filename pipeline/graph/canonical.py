"""Bring an exported model into the canonical form that everything behind `export` relies on.

Rules:
 1. opset 13 of the default domain only, IR version 8 (the SyNAP toolkit; the runtime's ONNX
    Runtime stops at opset 19 and IR 9).
 2. Constants are initializers, and every initializer has one consumer's worth of identity: no
    Identity nodes.
 3. Dropout is gone, batch norms are folded into the convolution before them or, where there is
    none, are a Mul and an Add.
 4. A Gemm has no alpha and beta, and images in its rows; a window has `pads` and no `auto_pad`, which
    imports write out (`auto_pad.py`).
 5. The batch size is free; handing over fixes it to 1 (`fix_batch`).
 6. Every node has a short unique name of letters and digits, a node's first output has the
    node's name, and an initializer is named after its consumer: the SyNAP toolkit matches layer
    names after the first `_`, so names have none.
 7. The exporter's own names stay readable as the nodes' doc strings.
"""

from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.initializers import fresh_name

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET = 13
IR_VERSION = 8
BATCH = "batch"


def canonicalize(model: "ir.Model") -> None:
    """Apply the rules in place. Raises StageError where the model cannot have the form."""
    import onnx_ir.passes.common as passes

    from pipeline.graph.batch_norm import fold_batch_norms
    from pipeline.graph.gemm import fold_gemm_factors

    passes.ShapeInferencePass()(model)  # of models that come without the shapes in between
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    remove_dropout(model.graph)
    passes.IdentityEliminationPass()(model)
    fold_batch_norms(model.graph)
    fold_gemm_factors(model.graph)
    passes.RemoveUnusedNodesPass()(model)
    passes.TopologicalSortPass()(model)
    _free_batch(model.graph)
    _own_initializers(model.graph)
    _rename(model.graph)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "pipeline", ""
    model.graph.name = "graph"
    passes.ShapeInferencePass()(model)
    check_canonical(model)


def check_canonical(model: "ir.Model") -> None:
    """Assert the rules on a model, whoever made it."""
    opset = model.opset_imports.get("")
    if opset != OPSET or set(model.opset_imports) - {""}:
        raise StageError(
            f"needs opset {OPSET} and no other domain, has {dict(model.opset_imports)}"
        )
    if model.ir_version > IR_VERSION:
        raise StageError(f"needs IR version {IR_VERSION} or lower, has {model.ir_version}")
    names = [node.name for node in model.graph]
    if len(set(names)) != len(names) or not all(name and name.isalnum() for name in names):
        raise StageError("node names are not short and unique")
    for node in model.graph:
        if node.op_type in ("BatchNormalization", "Constant", "Identity", "Dropout"):
            raise StageError(f"{node.op_type} {node.name} is left")
        if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
            raise StageError(f"{node.op_type} {node.name} has auto_pad")


def fix_batch(model: "ir.Model", size: int) -> None:
    """Give inputs, outputs and everything between the fixed batch size that is handed over."""
    import onnx_ir as ir

    for value in _values(model.graph):
        # Attention has the batch on other axes, too.
        if value.shape is not None and any(_is_batch(side) for side in value.shape):
            value.shape = ir.Shape([size if _is_batch(side) else side for side in value.shape])


def _is_batch(dimension: object) -> bool:
    return str(getattr(dimension, "value", dimension)) == BATCH


def _values(graph: "ir.Graph") -> "list[ir.Value]":
    made = [output for node in graph for output in node.outputs]
    return [*graph.inputs, *made]


def remove_dropout(graph: "ir.Graph") -> None:
    """Dropout does nothing when a model is not being trained."""
    import onnx_ir as ir

    for node in list(graph):
        if node.op_type == "Dropout" and node.inputs[0] is not None:
            kept = node.inputs[0]
            ir.convenience.replace_all_uses_with(node.outputs[0], kept, replace_graph_outputs=True)
            graph.remove(node, safe=True)


def _free_batch(graph: "ir.Graph") -> None:
    import onnx_ir as ir

    for value in (*graph.inputs, *graph.outputs):
        if value.shape is None or not len(value.shape):
            raise StageError(f"{value.name} has no known shape")
        value.shape = ir.Shape([BATCH, *list(value.shape)[1:]])
    for value in (output for node in graph for output in node.outputs):
        if value not in graph.outputs:
            value.shape = None  # inferred again from the inputs


def _own_initializers(graph: "ir.Graph") -> None:
    """Give every consumer its own copy of a shared initializer.

    Exporters merge equal tensors; two layers that share a bias by chance could not be equalized
    or corrected one by one.
    """
    import onnx_ir as ir

    seen: set[str] = set()
    for node in graph:
        for index, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value.name is None:
                continue
            if value.name in seen:
                copy = ir.Value(
                    name=fresh_name(graph, value.name),
                    shape=value.shape,
                    type=value.type,
                    const_value=value.const_value,
                )
                graph.register_initializer(copy)
                node.replace_input_with(index, copy)
            else:
                seen.add(value.name)
    for name in [n for n, v in graph.initializers.items() if not v.uses()]:
        del graph.initializers[name]


_ROLES = {
    "Conv": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "MatMul": ("", "weight"),
}


def _rename(graph: "ir.Graph") -> None:
    counts: dict[str, int] = {}
    for node in graph:
        kind = node.op_type.lower()
        counts[kind] = counts.get(kind, 0) + 1
        node.doc_string = node.name
        node.name = f"{kind}{counts[kind]}"
    # Two rounds, because a new name may still be some other value's old one.
    initializers = [(node, index, value) for node in graph for index, value in enumerate(node.inputs)
                    if value is not None and value.is_initializer()]  # fmt: skip
    for number, value in enumerate(_values(graph)):
        value.name = f"value {number}"
    for number, (_, _, value) in enumerate(initializers):
        value.name = f"initializer {number}"
    for node, index, value in initializers:
        roles = _ROLES.get(node.op_type, ())
        role = roles[index] if index < len(roles) else f"input{index}"
        value.name = f"{node.name}_{role}"
    for node in graph:
        for index, value in enumerate(node.outputs):
            value.name = node.name if index == 0 else f"{node.name}_output{index}"
    graph.inputs[0].name = "input"
    graph.outputs[0].name = "logits"
