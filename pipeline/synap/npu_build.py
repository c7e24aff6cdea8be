"""Have the toolkit compile what lies in a folder for the NPU, and look at what it made.

Nothing of this has run on a real toolkit or board yet (docs/synap.md).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.progress import Progress
from pipeline.store import failure_log
from pipeline.synap.build_check import check_build
from pipeline.synap.hand_over import METAFILE, Handed
from pipeline.synap.own_quantization import look_at_table
from pipeline.synap.toolkit_find import Toolkit
from pipeline.synap.toolkit_run import run_toolkit
from pipeline.targets import Target

if TYPE_CHECKING:
    from pipeline.quant.plan import Plan

TIME_LIMIT = 4 * 3600.0
"""Seconds the toolkit may take."""


def build_for_npu(
    *,
    toolkit: Toolkit,
    target: Target,
    handed: Handed,
    plan: "Plan | None",
    folder: Path,
    bundle: str,
    progress: Progress,
    graph: Path | None = None,
) -> Mapping[str, Any]:
    """Make `bundle` in `folder`, which is the store's; the toolkit's version and all faults of what
    it made.

    `graph` is the float Graph and `plan` our quantization of it, where the toolkit quantizes by itself;
    `stand_in` in the result then says what predicts the model (own_quantization.py), or why nothing
    does. Raises StageError where the toolkit fails or leaves something that is no bundle.
    """
    done = run_toolkit(
        toolkit,
        folder,
        folder / handed.model,
        folder / METAFILE,
        target,
        timeout=TIME_LIMIT,
        log_path=folder / "toolkit.log",
        failure_log=failure_log(folder, f"compile-{target.name}.log"),
        progress=progress,
    )
    built = check_build(done.model, done.listings, handed, target)
    done.model.replace(folder / bundle)
    details: dict[str, Any] = {
        "toolkit_version": built.toolkit_version,
        "faults": list(built.faults),
        "verified": list(built.verified),
        "not_verified": list(built.not_verified),
    }
    if graph is None or plan is None:
        return details
    own = look_at_table(done.listings, graph, plan, folder)
    details["faults"] += own.faults
    details["verified"] += own.verified
    details["not_verified"] += own.not_verified
    return {**details, "stand_in": dict(own.stand_in)}
