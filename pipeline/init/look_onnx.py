"""Look at an ONNX file, float or QDQ: it is brought in as a run would bring it in."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError
from pipeline.init.ask import Ask
from pipeline.init.findings import ModelFindings, View
from pipeline.init.view import DECLARED, SIZE, completed, notes_of_deviation
from pipeline.stages.import_notes import notes_of_end

if TYPE_CHECKING:
    import onnx_ir as ir


def look_at_onnx(path: Path, ask: Ask | None) -> ModelFindings:
    """Raises StageError for what a run could not take, in the run's words."""
    from pipeline.graph.foreign_file import load_foreign
    from pipeline.graph.memory import bounded_memory
    from pipeline.quant.qdq_read import is_quantized, refuse_integer_operators

    with bounded_memory(path):
        original = load_foreign(path)
        refuse_integer_operators(original.graph, str(path))
        look = _look_at_qdq if is_quantized(original.graph) else _look_at_float
        return look(original, path, ask)


def _look_at_float(original: "ir.Model", path: Path, ask: Ask | None) -> ModelFindings:
    from pipeline.init.float_graph import bring

    where, size = str(path), _size(original.graph)
    declared, notes = _declared(original, where)
    graph = bring(original, size or (declared.size if declared else SIZE), where)
    return ModelFindings(
        source="onnx",
        name=path.stem,
        file=path,
        description=f"a float ONNX file of opset {graph.opset}, {_millions(original)} parameters",
        outputs=graph.outputs,
        view=View(declared, DECLARED)
        if declared
        else completed(graph.origin, size, graph.feeds, graph.outputs, ask),
        depthwise=graph.facts.depthwise,
        npu=graph.facts.npu,
        notes=(*notes, *graph.notes),
    )


def _look_at_qdq(original: "ir.Model", path: Path, ask: Ask | None) -> ModelFindings:
    from pipeline.graph.file import class_count
    from pipeline.init.float_graph import fed_with
    from pipeline.init.npu import facts_of_graph
    from pipeline.init.quantized_input import quantized_feeds
    from pipeline.init.view import IMAGENET
    from pipeline.process import cores
    from pipeline.quant.plan_from_qdq import plan_from_qdq
    from pipeline.quant.qdq import render_qdq
    from pipeline.quant.qdq_proof import prove_qdq

    where, size = str(path), _size(original.graph)
    declared, notes = _declared(original, where)
    feeds, origin = quantized_feeds(original, size or SIZE, where)
    graph, fed = original.clone(), declared or fed_with(feeds or IMAGENET, size or SIZE)
    came, plan = plan_from_qdq(graph, fed, where)
    rendered = graph.clone()
    render_qdq(rendered, plan)
    prove_qdq(original.clone(), came, fed, rendered, plan, cores(), where)
    notes += [f"The {text}." for text in notes_of_end(came)]
    outputs = class_count(graph, where)
    view = (
        View(declared, DECLARED)
        if declared
        else completed(origin, size, feeds, outputs, ask, one_deviation=True)
    )
    notes += notes_of_deviation(view)
    return ModelFindings(
        source="quantized-onnx",
        name=path.stem,
        file=path,
        description=f"a quantized ONNX file of opset {came.opset}, {_millions(original)} parameters",
        outputs=outputs,
        view=view,
        quantized=f"{plan.data_type}, {plan.scheme}, as QDQ",
        npu=facts_of_graph(graph).npu,
        notes=tuple(notes),
    )


def _declared(model: "ir.Model", where: str) -> tuple[Preprocess | None, list[str]]:
    """The preprocessing in a file of ours. A damaged one does not stop a run, which is given its
    own by the recipe."""
    from pipeline.runners.onnx import declared_preprocess

    try:
        return declared_preprocess(model.metadata_props, where), []
    except StageError:
        return None, [f"The file's metadata {METADATA_KEY!r} are damaged and were not used."]


def _size(graph: "ir.Graph") -> int | None:
    """Height of the image input, or width where the height is free; None where neither is fixed.

    What is no image is for the import to refuse.
    """
    images = [value for value in graph.inputs if value.name not in graph.initializers]
    shape = images[0].shape if images else None
    if shape is None or len(shape) != 4:
        return None
    sides = [side if isinstance(side, int) else None for side in shape]
    rows, columns = sides[1:3] if sides[3] == 3 and sides[1] != 3 else sides[2:]
    size = rows or columns
    return size if size is None or size <= LARGEST else None


LARGEST = 4096
"""Side of the largest input that a recipe can say."""


def _millions(model: "ir.Model") -> str:
    constants = [value.const_value for value in model.graph.initializers.values()]
    return f"{sum(tensor.size for tensor in constants if tensor is not None) / 1e6:.2f} M"
