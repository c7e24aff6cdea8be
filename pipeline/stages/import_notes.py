"""What a user should know of a model that was brought in, in the same words for every form."""

from typing import TYPE_CHECKING

from pipeline.graph.foreign import Came
from pipeline.graph.precision import UNRUN
from pipeline.stages.stage import Work

if TYPE_CHECKING:
    import onnx_ir as ir


def note_import(work: Work, came: Came, graph: "ir.Model", where: str) -> None:
    """Say what a canonical Graph has otherwise than its file: how it is fed, and its end."""
    from pipeline.graph.file import preprocess_in

    own = preprocess_in(graph, where).normalization
    if own != work.settings.model_input.normalization:
        work.progress.note(
            f"the model normalizes its input itself; mean {own.mean} and std {own.std} do both "
            "its normalization and the recipe's"
        )
    rounded = [name for name in came.precisions if name in UNRUN]
    if rounded:
        work.progress.note(
            f"the model's numbers are {', '.join(rounded).lower()}, which ONNX Runtime has few "
            "operators for: the model is compared as it is with its weights in float32"
        )
    for text in notes_of_end(came):
        work.progress.note(f"the {text}")


def notes_of_end(came: Came) -> list[str]:
    """What became of the scores at a model's end, in sentences without their article."""
    if came.stripped:
        return [f"{came.stripped} at the model's end is left out: logits are kept"]
    if came.kept:
        return [
            f"{came.kept} near the model's end stays, so scores are compared instead of logits, and 8 "
            "bits hold few steps of them: better export the model without it"
        ]
    return []
