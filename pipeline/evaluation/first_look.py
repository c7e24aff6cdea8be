"""What the first stage's outputs say of how the model is used, whatever the recipe demands."""

from typing import TYPE_CHECKING

from pipeline.check.guessing import caution
from pipeline.check.result import Check
from pipeline.evaluation.evaluator import LOGITS
from pipeline.evaluation.looks import Outputs

if TYPE_CHECKING:
    from pipeline.data.samples import Samples


def caution_at_first_look(
    check: Check, outputs: Outputs | None, samples: "Samples", label_offset: int
) -> str | None:
    """A sentence for the user, where the model is no better than guessing."""
    import numpy as np

    if outputs is None or check.top1 is None:
        return None
    (first, *_) = outputs.first(1)
    width = np.load(first.path(LOGITS), mmap_mode="r", allow_pickle=False).shape[1]
    return caution(check.top1, check.images, samples.dataset.class_count, width, label_offset)
