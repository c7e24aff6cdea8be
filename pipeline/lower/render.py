"""Render Graph and Plan as an integer TFLite file, with its metadata and labels."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.preprocess import METADATA_KEY
from pipeline.lower.metadata import ENTRY, Facts, encode_metadata, with_labels
from pipeline.lower.operators import Lowered
from pipeline.quant.plan import Plan

if TYPE_CHECKING:
    import onnx_ir as ir


def render_tflite(model: "ir.Model", plan: Plan, labels: Sequence[str] | None) -> bytes:
    """The file's content; `model` is the float Graph that the Plan belongs to, and is left as it is.

    The input takes the crop's own bytes where the Plan says so (for int8 less 128). Raises
    StageError, naming operator and node, for what has no place in TFLite.
    """
    from pipeline.graph.file import preprocess_in

    preprocess = preprocess_in(model, "the Graph").with_normalization(plan.normalization)
    lowered = Lowered(model, plan)
    image, scores = model.graph.inputs[0], model.graph.outputs[0]
    facts = Facts(
        input=image.name or "",
        output=scores.name or "",
        height=lowered.inputs[0].shape[1],
        width=lowered.inputs[0].shape[2],
        # Rounded to a millionth of a grey level: 255 * (127 / 255) is to be 127.
        mean=tuple(round(255 * mean, 6) for mean in preprocess.mean),
        std=tuple(round(255 * std, 6) for std in preprocess.std),
        labels=None if labels is None else tuple(labels),
    )
    own = json.dumps(preprocess.model_dump(mode="json"), sort_keys=True).encode()
    content = lowered.to_bytes({METADATA_KEY: own, ENTRY: encode_metadata(facts)})
    return content if labels is None else with_labels(content, labels)
