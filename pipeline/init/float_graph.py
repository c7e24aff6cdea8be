"""A float model as ONNX has it, brought in as a run would bring it in, and what that shows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.init.npu import GraphFacts, facts_of_graph
from pipeline.init.view import NORMALIZATIONS
from pipeline.stages.import_notes import notes_of_end

if TYPE_CHECKING:
    import onnx_ir as ir

_PICTURES = (0.05, 1.0)
"""Between which the deviations of pictures lie, in fractions of 255."""


@dataclass(frozen=True)
class FloatGraph:
    """What the canonical Graph shows."""

    outputs: int
    facts: GraphFacts
    opset: int
    """Of the file."""
    feeds: Normalization | None
    """What a model is to be fed that normalizes its input itself; None where that does not show."""
    origin: str
    """How that shows, in a sentence; empty where it does not."""
    notes: tuple[str, ...]


def bring(original: "ir.Model", size: int, where: str) -> FloatGraph:
    """Look at the canonical form of a float model, which is itself left as it is; `size` is that of
    its input. Raises StageError for what cannot be brought in, in the words of a run."""
    from pipeline.graph.file import class_count, preprocess_in
    from pipeline.graph.foreign import bring_in
    from pipeline.graph.precision import runnable
    from pipeline.graph.proof import prove
    from pipeline.process import cores

    fed = NORMALIZATIONS["fractions"]
    graph = original.clone()
    came = bring_in(graph, fed_with(fed, size), where)
    run = runnable(original.clone(), came.precisions, where)
    prove(run, came, fed_with(fed, size), graph, cores(), where)
    taken = preprocess_in(graph, where).normalization
    feeds, origin = None, ""
    how = "The model normalizes its input itself, so it is fed"
    if _is_of_pictures(taken, fed):
        feeds, origin = fed, f"{how} pixels from 0 to 1."
    elif takes(original, NORMALIZATIONS["bytes"], size, where):
        feeds, origin = NORMALIZATIONS["bytes"], f"{how} pixels from 0 to 255."
    notes = tuple(f"The {text}." for text in notes_of_end(came))
    return FloatGraph(
        class_count(graph, where), facts_of_graph(graph), came.opset, feeds, origin, notes
    )


def fed_with(normalization: Normalization, size: int) -> Preprocess:
    """A preprocessing of this normalization; where only that and the size matter."""
    return Preprocess.model_validate({"size": size, **normalization.model_dump()})


def takes(original: "ir.Model", fed: Normalization, size: int, where: str) -> bool:
    """Whether pixels that are fed so become something usual by what the model does first."""
    from pipeline.graph.foreign import prepare
    from pipeline.graph.input_side import take_normalization

    graph = original.clone()
    prepare(graph, size, where)
    return _is_of_pictures(take_normalization(graph.graph, fed), fed)


def _is_of_pictures(taken: Normalization, fed: Normalization) -> bool:
    least, most = _PICTURES
    return taken != fed and all(least <= deviation <= most for deviation in taken.std)
