"""Have the toolkit compile what lies in a folder for the NPU, and look at what it made.

Nothing of this has run on a real toolkit or board yet (docs/synap.md).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.progress import Progress
from pipeline.synap.build_check import check_build
from pipeline.synap.hand_over import METAFILE, Handed
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
    plan: "Plan",
    folder: Path,
    bundle: str,
    progress: Progress,
) -> Mapping[str, Any]:
    """Make `bundle` in `folder`; the toolkit's version and all faults of what it made.

    Raises StageError where the toolkit fails or leaves something that is no bundle.
    """
    done = run_toolkit(
        toolkit,
        folder,
        folder / handed.model,
        folder / METAFILE,
        target,
        timeout=TIME_LIMIT,
        log_path=folder / "toolkit.log",
        progress=progress,
    )
    built = check_build(done.model, done.listings, handed, plan, target)
    done.model.replace(folder / bundle)
    return {
        "toolkit_version": built.toolkit_version,
        "faults": list(built.faults),
        "verified": list(built.verified),
        "not_verified": list(built.not_verified),
    }
