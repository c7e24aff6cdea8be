"""What the board's own way of preparing pictures costs, beside the model's own preprocessing.

SyNAP's program does not crop as models are trained, and cuts the means to integers (`docs/synap.md`).
That is no fault of the conversion, so it is no part of its verdict; but it is part of what the user
of the board sees.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.data.device_view import DeviceView
from pipeline.evaluation.evaluator import LOGITS, Evaluator, right_answers
from pipeline.stages.stage import Settings
from pipeline.store import Entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

VERSION = 2
CONFIDENCE = 0.95


def deployment_gap(
    artifact: Artifact,
    samples: "Samples",
    own: Sequence[Entry],
    settings: Settings,
    evaluator: Evaluator,
    *,
    anytime: bool,
) -> dict[str, Any]:
    """Top-1 of the artifact with pictures as the board prepares them, as JSON data; `own` are its
    logits on the same samples with the model's own preprocessing. `gap` is what is lost, a fraction,
    and its interval is two-sided, each end at `confidence`. `anytime` says that the number of images
    was not fixed beforehand, so that the interval has to hold at every number."""
    preprocess = settings.model_input
    view = DeviceView(size=preprocess.size, convert=True)
    entry = evaluator.outputs(artifact, samples, preprocess, view)
    offset = settings.recipe.recipe.model.label_offset
    fields = {
        "version": VERSION,
        "device": entry.sha256(LOGITS),
        "own": [part.sha256(LOGITS) for part in own],
        "samples": samples.digest,
        "label_offset": offset,
        "anytime": anytime,
    }

    def build(folder: Path) -> Mapping[str, Any]:
        return {"gap": _compare([entry], own, samples.labels() + offset, anytime)}

    return dict(evaluator.store.get("gaps", fields, build).about["gap"])


def _compare(
    device: Sequence[Entry], own: Sequence[Entry], labels: "NDArray[np.int64]", anytime: bool
) -> dict[str, Any]:
    from pipeline.check.gate import Paired, drop_interval
    from pipeline.check.sequential import anytime_interval

    theirs, ours = right_answers(device, labels), right_answers(own, labels)
    counts = Paired(len(labels), int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    return {
        "images": len(labels),
        "top1": float(theirs.mean()),
        "model_top1": float(ours.mean()),
        "gap": counts.drop,
        "confidence_interval": list(
            (anytime_interval if anytime else drop_interval)(counts, CONFIDENCE)
        ),
        "confidence": CONFIDENCE,
        "anytime": anytime,
    }
