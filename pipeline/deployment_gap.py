"""What the board's own way of preparing pictures costs, beside the model's own preprocessing.

SyNAP's program does not crop as models are trained, and cuts the means to integers (`docs/synap.md`).
That is no fault of the conversion, so it is no part of its verdict; but it is part of what the user
of the board sees.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.data.device_view import DeviceView
from pipeline.evaluate import LOGITS, outputs_of
from pipeline.progress import Progress
from pipeline.stages.stage import Settings
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

CONFIDENCE = 0.95


def deployment_gap(
    artifact: Artifact,
    samples: "Samples",
    own: Sequence[Entry],
    settings: Settings,
    store: Store,
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """Top-1 of the artifact with pictures as the board prepares them, as JSON data; `own` are its
    logits on the same samples with the model's own preprocessing. `gap` is what is lost, a fraction,
    and its interval is two-sided, each end at `confidence`."""
    import numpy as np

    from pipeline.check.gate import Paired, drop_interval
    from pipeline.check.metrics import in_top

    preprocess = settings.model_input
    view = DeviceView(size=preprocess.size, convert=True)
    entry = outputs_of(artifact, samples, preprocess, store, threads, progress, view)
    labels = samples.labels() + settings.recipe.recipe.model.label_offset

    def correct(entries: Sequence[Entry]) -> Any:
        logits = [np.load(entry.path(LOGITS), allow_pickle=False) for entry in entries]
        return in_top(np.concatenate(logits), labels, 1)

    theirs, ours = correct([entry]), correct(own)
    counts = Paired(len(labels), int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    return {
        "images": len(labels),
        "top1": float(theirs.mean()),
        "model_top1": float(ours.mean()),
        "gap": counts.drop,
        "confidence_interval": list(drop_interval(counts, CONFIDENCE)),
        "confidence": CONFIDENCE,
    }
