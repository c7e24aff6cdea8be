"""Proof that a Graph and its Plan are the QDQ model that they were taken from: both are run, on the
pictures that every model of others is tried on (`graph/proof.py`)."""

from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.foreign import Came
from pipeline.quant.plan import Plan

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_STEPS = 2
"""Steps of the logits' integers by which the rendering may differ from the file, both computed in
float arithmetic: a sum that lies on the edge between two integers may fall to either side."""


def prove_qdq(
    original: "ir.Model",
    came: Came,
    preprocess: Preprocess,
    rendered: "ir.Model",
    plan: Plan,
    threads: int,
    where: str,
) -> dict[str, Any]:
    """Hold the rendering of a Plan to the file as it came, which is changed by being run; the
    difference, as details of a stage. Raises StageError where one of them cannot be run, or where it
    is beyond what is allowed."""
    import numpy as np

    from pipeline.graph.proof import original_logits, pictures, run_together
    from pipeline.graph.session import session_of

    crops = pictures(preprocess.size)
    expected = original_logits(
        original, came, preprocess, crops, threads, where=where, optimize=False
    )
    if not np.isfinite(expected).all():
        raise StageError("gives logits that are not finite, as it came", where=where)
    session = session_of(rendered, threads, where=where, optimize=False)
    made = run_together(session, plan.normalization.apply(crops), where, came.batch)
    error, largest = float(np.abs(made - expected).max()), float(np.abs(expected).max())
    logits = plan.activations.get("logits")
    allowed = 1e-3 * largest if logits is None else MOST_STEPS * logits.scale[0]
    if not error <= allowed * (1 + 1e-6):
        raise StageError(
            f"as Graph and Plan it gives other logits: one differs by {error:.3g}, and {allowed:.3g} "
            "are allowed",
            where=where,
            hint="this is a fault of the import; the model's operators are to be reported with it",
        )
    return {"pictures": len(crops), "largest_difference": error, "largest_logit": largest}
