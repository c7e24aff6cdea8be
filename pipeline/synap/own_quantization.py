"""Look at how the toolkit quantized by itself, and make what can be run here in the NPU's place.

For the hand-over `onnx`: the toolkit's table is read, held against what was asked for, and replayed.
A table that cannot be read is no fault of the model, which may be sound: it is said not to be seen,
and nothing predicts the model's accuracy then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.errors import StageError
from pipeline.synap.quantization_table import FILE, read_quantization_table

if TYPE_CHECKING:
    from pipeline.quant.plan import Plan
    from pipeline.synap.table_match import Matched

REPLAY = "replay.onnx"
"""The toolkit's own quantization as QDQ ONNX."""
REPLAY_PLAN = "replay.json"


@dataclass(frozen=True)
class OwnQuantization:
    """What the table shows."""

    faults: tuple[str, ...]
    verified: tuple[str, ...]
    not_verified: tuple[str, ...]
    stand_in: Mapping[str, Any]
    """`file`, `format` and `assumptions` of what predicts the model, or the `reason` that nothing
    does; as JSON data."""


def look_at_table(
    listings: Sequence[Path], graph: Path, plan: "Plan", folder: Path
) -> OwnQuantization:
    """Compare the toolkit's table with the Plan, and write its replay into `folder`.

    `graph` is the float Graph that was handed over, with its batch size free.
    """
    from pipeline.graph.file import load_graph
    from pipeline.synap.table_compare import ASKED, compare
    from pipeline.synap.table_match import match_table

    path = next((path for path in listings if path.name == FILE), None)
    if path is None:
        return _unseen("the toolkit left no table of its own quantization")
    try:
        table = read_quantization_table(path)
    except StageError as error:
        return _unseen(f"the toolkit's {FILE} cannot be read: {error.what}")
    matched = match_table(table, load_graph(graph))
    found = compare(matched, plan)
    return OwnQuantization(
        found.faults,
        (ASKED,) if found.complete else (),
        found.notes,
        _write_replay(matched, graph, plan, folder),
    )


def _write_replay(matched: "Matched", graph: Path, plan: "Plan", folder: Path) -> dict[str, Any]:
    from pipeline.graph.file import load_graph, save_graph
    from pipeline.quant.plan import save_plan
    from pipeline.quant.qdq import render_qdq
    from pipeline.synap.table_replay import replay

    model = load_graph(graph)
    made = replay(matched, model, digest_of_path(graph), plan)
    if made.plan is None:
        return {"reason": made.reason}
    try:
        render_qdq(model, made.plan)
    except StageError as error:
        return {"reason": f"the toolkit's own quantization cannot be replayed: {error.what}"}
    save_plan(made.plan, folder / REPLAY_PLAN)
    save_graph(model, folder / REPLAY)
    return {"file": REPLAY, "format": "qdq-onnx", "assumptions": list(made.assumptions)}


def _unseen(reason: str) -> OwnQuantization:
    return OwnQuantization((), (), (reason,), {"reason": reason})
