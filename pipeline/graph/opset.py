"""Bring a model of opset 7 or later to opset 13, the only one behind `import`.

Which operators changed in between is not listed here: ONNX's own schemas say how a node may be
written in opset 13, and one that cannot be is refused by operator and node. What needs a hand
(`opset_rules.py`):

 1. Up: what was an attribute is an input (Clip and Pad before 11, Slice before 10; Squeeze,
    Unsqueeze, ReduceSum and Split before 13).
 2. Up: Softmax and its kin ran over all dimensions from `axis` on before 13, and over `axis` alone
    since; the same where `axis` is the last or those behind it have one value.
 3. Up: Upsample and the first Resize are a Resize from the corner, nearest rounding down.
 4. Up: a BatchNormalization that is `spatial`, as all are in practice, loses the word.
 5. Down: what is an input was an attribute (`axes` of the reductions before 18).
 6. Down: operators that came later are spelled out (HardSwish, Mish, Gelu, LayerNormalization).
 7. Down: part of a Shape is a Slice of it; a Pad of some axes names all of them.
 8. Down: an attribute that came later goes where its value says what was always done.

The function is not trusted to be the same but proved (`proof.py`).
"""

from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.graph.canonical import OPSET
from pipeline.graph.opset_rules import NoForm, rule_for, schema_of

if TYPE_CHECKING:
    import onnx_ir as ir

OLDEST = 7


def to_opset_13(model: "ir.Model", where: str) -> int:
    """Rewrite the model in place; the opset that it had. Shapes have to be inferred before.

    Raises StageError for everything that opset 13 cannot say, all at once.
    """
    opset = _require_known(model, where)
    if opset == OPSET:
        _require_form(model.graph, where, opset)
        return opset
    problems = []
    for node in list(model.graph):
        try:
            rewrite = rule_for(node, opset)
            if rewrite is not None:
                rewrite(model.graph, node)
        except NoForm as reason:
            problems.append(f"{_named(node)}: {reason}")
    if problems:
        raise _refusal(problems, where, opset)
    model.opset_imports[""] = OPSET
    _require_form(model.graph, where, opset)
    return opset


def _named(node: "ir.Node") -> str:
    return f"{node.op_type} {node.name or node.outputs[0].name!r}"


def _refusal(problems: list[str], where: str, opset: int) -> StageError:
    shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if problems[5:] else "")
    what = "is not as its" if opset == OPSET else f"cannot be brought to opset {OPSET} from"
    return StageError(
        f"{what} opset {opset}{' says' if opset == OPSET else ''}: {shown}",
        where=where,
        hint=f"export the model to opset {OPSET}",
    )


def _require_known(model: "ir.Model", where: str) -> int:
    """The opset, in a model whose operators are all ONNX's own, without graphs inside of nodes."""
    import onnx
    import onnx_ir as ir

    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise StageError(
            f"has opset {opset}; those from {OLDEST} to {newest} are read",
            where=where,
            hint=f"export the model to opset {OPSET}",
        )
    for node in model.graph:
        if node.domain not in ("", "ai.onnx"):
            raise StageError(
                f"{_named(node)} belongs to {node.domain}, not to ONNX",
                where=where,
                hint="give the model as it was before it was optimized for one runtime",
            )
        kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        if any(attribute.type in kinds for attribute in node.attributes.values()):
            raise StageError(
                f"{_named(node)} decides while the model runs what to compute, and has no place in "
                "a fixed graph",
                where=where,
                hint="export the model by tracing, without control flow",
            )
        node.domain = ""
    for domain in [name for name in model.opset_imports if name]:
        del model.opset_imports[domain]
    model.opset_imports[""] = opset
    return opset


def _require_form(graph: "ir.Graph", where: str, opset: int) -> None:
    """Every node is written as opset 13 has it."""
    problems = []
    for node in graph:
        schema = schema_of(node.op_type, OPSET)
        if schema is None:
            problems.append(f"{_named(node)}: it came later, or was given up")
            continue
        strange = [name for name in node.attributes if name not in schema.attributes]
        if strange:
            problems.append(f"{_named(node)}: attribute {strange[0]}")
        elif not schema.min_input <= len(node.inputs) <= schema.max_input:
            problems.append(f"{_named(node)}: {len(node.inputs)} inputs")
        elif len(node.outputs) > schema.max_output:
            problems.append(f"{_named(node)}: {len(node.outputs)} outputs")
    if problems:
        raise _refusal(problems, where, opset)
