"""What the first stage's outputs say of how the model is used, whatever the recipe demands."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.check.result import Check
from pipeline.evaluation.evaluator import LOGITS
from pipeline.evaluation.looks import Outputs
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

VERSION = 1


def cautions_at_first_look(
    store: Store, check: Check, outputs: Outputs | None, samples: "Samples", label_offset: int
) -> list[str]:
    """Sentences for the user, where the model is no better than guessing; kept in the store, so that
    a run that computes nothing does not count again."""
    if outputs is None or check.top1 is None:
        return []
    (first, *_) = outputs.first(1)
    top1, classes = check.top1, samples.dataset.class_count
    fields = {
        "version": VERSION,
        "logits": first.sha256(LOGITS),
        "images": check.images,
        "top1": top1,
        "classes": classes,
        "label_offset": label_offset,
    }

    def build(folder: Path) -> Mapping[str, Any]:
        import numpy as np

        from pipeline.check.guessing import caution

        width = np.load(first.path(LOGITS), mmap_mode="r", allow_pickle=False).shape[1]
        found = caution(top1, check.images, classes, width, label_offset)
        return {"cautions": [] if found is None else [found]}

    return list(store.get("cautions", fields, build).about["cautions"])
