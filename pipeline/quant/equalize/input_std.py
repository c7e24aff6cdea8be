"""Fold the input's deviations per channel into the first layer.

SyNAP knows one scalar scale for all channels. With `x[c] = (byte - m[c]) / S[c]` and one `S` for
all, `x'[c] = (byte - m[c]) / S`, the first layer's weights for channel c are multiplied by
`S / S[c]`. Exact, zero padding included, because 0 stays 0.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.quant.equalize.coupling import is_constant
from pipeline.quant.equalize.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir


def fold_input_std(
    graph: "ir.Graph", weights: Weights, normalization: Normalization
) -> Normalization:
    """Fold in place; the normalization with one deviation that the Graph now expects.

    Raises StageError where something else than plain convolutions reads the input.
    """
    if len(set(normalization.std)) == 1:
        return normalization
    readers = [use.node for use in graph.inputs[0].uses()]
    for node in readers:
        grouped = node.op_type == "Conv" and node.attributes.get_int("group", 1) != 1
        if node.op_type != "Conv" or not is_constant(node, 1) or grouped:
            kind = "Conv of groups" if grouped else node.op_type
            raise StageError(
                f"the input is read by a {kind}, so its deviations per channel cannot be "
                "folded into a convolution, and SyNAP knows one scale only",
                where=node.name or "",
            )
    common = max(normalization.std)
    for node in readers:
        rows = weights.incoming(node.name or "")
        factors = common / np.array(normalization.std)
        rows *= factors.reshape(-1, *[1] * (rows.ndim - 1))
    return normalization.model_copy(update={"std": (common,) * 3})
