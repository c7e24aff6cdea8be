"""How the pixels go into a QDQ model, as far as its input's integers show it."""

from typing import TYPE_CHECKING

from pipeline.data.preprocess import Normalization
from pipeline.init.float_graph import fed_with, takes
from pipeline.init.view import IMAGENET, NORMALIZATIONS
from pipeline.quant.input_fit import input_range, value_range

if TYPE_CHECKING:
    import onnx_ir as ir

NEAR = 0.05
"""Part of the range by which its ends may lie off: calibration saw some pictures, not all."""


def quantized_feeds(
    original: "ir.Model", size: int, where: str
) -> tuple[Normalization | None, str]:
    """What the model is to be fed, and how that shows, in a sentence; None where it does not.

    Raises StageError for what cannot be brought in, in the words of a run.
    """
    from pipeline.quant.plan_from_qdq import plan_from_qdq
    from pipeline.quant.qdq_read import as_onnx_pairs

    with_pairs = original.clone()
    as_onnx_pairs(with_pairs.graph)
    for word, pixels in (("fractions", "0 to 1"), ("bytes", "0 to 255")):
        if takes(with_pairs, NORMALIZATIONS[word], size, where):
            how = "The model normalizes its input itself, so it is fed pixels from"
            return NORMALIZATIONS[word], f"{how} {pixels}."
    _, plan = plan_from_qdq(original.clone(), fed_with(IMAGENET, size), where)
    grid = plan.activations[plan.input]
    low, high = input_range(grid.data_type, grid.scale[0], grid.zero_point[0])
    for normalization in NORMALIZATIONS.values():
        least, most = value_range(normalization)
        if max(abs(low - least), abs(high - most)) <= NEAR * (most - least):
            return normalization, f"Its input's integers stand for {low:.3g} to {high:.3g}."
    return None, ""
