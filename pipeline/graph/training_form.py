"""Models that were exported as they are trained: what they compute changes from run to run, or with the
images beside an image, so no Graph can be the same."""

from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    import onnx_ir as ir

RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
          "RandomUniformLike")  # fmt: skip
_SHOWN = 3


def refuse_training_form(graph: "ir.Graph") -> None:
    """Raises StageError that names such nodes. Constants have to be initializers."""
    found = [f"{_named(node)} {reason}" for node in graph if (reason := _reason(node)) is not None]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if found[_SHOWN:] else ""
        raise StageError(
            f"is in the form in which it is trained: {'; '.join(found[:_SHOWN])}{more}",
            hint="export it for use: in PyTorch call model.eval() before torch.onnx.export, without "
            "`training=`",
        )


def _reason(node: "ir.Node") -> str | None:
    """Why a node has no place in a model that is used; None where it has."""
    if node.op_type in RANDOM:
        return "draws random numbers"
    if node.op_type == "BatchNormalization":
        trained = node.attributes.get_int("training_mode", 0)
        # Before opset 14 more than one result said so; one without a name is none.
        if trained or any(output.name for output in node.outputs[1:]):
            return "normalizes by the images at hand, not by its own mean and variance"
        return None
    if node.op_type != "Dropout":
        return None
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "gives the mask of what it leaves out to others"
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is None:
        return None
    if mode.const_value is None:
        return "is told while the model runs whether it leaves values out"
    return "leaves values out at random (training_mode)" if mode.const_value.numpy().any() else None


def _named(node: "ir.Node") -> str:
    return f"{node.op_type} {node.name or node.outputs[0].name!r}"
