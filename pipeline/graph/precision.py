"""Every real number of a model as float32: weights stored in half or double precision are widened
or rounded, and the casts between precisions go. The function is the same but for rounding."""

from typing import TYPE_CHECKING

from pipeline.graph.initializers import add_initializer, fresh_name

if TYPE_CHECKING:
    import onnx_ir as ir

HALVES = ("FLOAT16", "BFLOAT16")
OTHERS = (*HALVES, "DOUBLE")
UNRUN = ("BFLOAT16", "DOUBLE")
"""Precisions in which ONNX Runtime has few operators on CPUs."""


def to_float32(model: "ir.Model") -> tuple[str, ...]:
    """Make a model's real numbers float32, in place; which precisions it had besides.

    Shapes and types of what lies between have to be inferred again afterwards.
    """
    found = _retype(model.graph)
    _drop_casts(model.graph)
    return tuple(sorted(found))


def runnable(model: "ir.Model", precisions: tuple[str, ...], where: str) -> "ir.Model":
    """The model as ONNX Runtime can run it: itself, or where its precisions are such that it has no
    operators for them, a copy with the same nodes and names in float32. What is then held to such a
    copy is held to the model but for the rounding of its weights. Raises StageError for a damaged one.
    """
    import onnx_ir.passes.common as passes

    from pipeline.graph.foreign import placed
    from pipeline.graph.inference import infer_shapes

    if set(precisions).isdisjoint(UNRUN):
        return model
    copy = model.clone()
    with placed(where):
        passes.RemoveInitializersFromInputsPass()(copy)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
        infer_shapes(copy)
        _retype(copy.graph)
    return copy


def _retype(graph: "ir.Graph") -> set[str]:
    """Constants, casts and declarations of other precisions as float32; which those were."""
    import onnx_ir as ir

    found = set()
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is not None and tensor.dtype.name in OTHERS:
            found.add(tensor.dtype.name)
            replacement = add_initializer(
                graph, fresh_name(graph, f"{value.name}_float32"), tensor.numpy().astype("float32")
            )
            ir.convenience.replace_all_uses_with(value, replacement, replace_graph_outputs=True)
            del graph.initializers[value.name or ""]
    for node in graph:
        for attribute in list(node.attributes.values()):
            if attribute.type == ir.AttributeType.TENSOR:
                tensor = attribute.as_tensor()
                if tensor.dtype.name in OTHERS:  # the value of a ConstantOfShape
                    found.add(tensor.dtype.name)
                    same = ir.tensor(tensor.numpy().astype("float32"))
                    node.attributes[attribute.name] = ir.AttrTensor(attribute.name, same)
        if node.op_type == "Cast" and ir.DataType(node.attributes["to"].as_int()).name in OTHERS:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT)
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        if value.dtype is not None and value.dtype.name in OTHERS:
            found.add(value.dtype.name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    return found


def _drop_casts(graph: "ir.Graph") -> None:
    """Casts of float32 to float32; those of sizes and the like stay."""
    import onnx_ir as ir

    for node in list(graph):
        if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
            source = node.inputs[0]
            if source is not None and source.dtype == ir.DataType.FLOAT:
                ir.convenience.replace_all_uses_with(
                    node.outputs[0], source, replace_graph_outputs=True
                )
                graph.remove(node, safe=True)
