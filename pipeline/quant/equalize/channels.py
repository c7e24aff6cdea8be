"""The cheap pass: minimum and maximum of every channel of the activations that rewrites look at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.preprocess import Normalization
from pipeline.quant.observe import run_watched

if TYPE_CHECKING:
    import onnx_ir as ir

Float = NDArray[np.float64]


@dataclass
class ChannelRanges:
    """Bounds `[C]` of a tensor's channels over all images and places."""

    minimum: Float
    maximum: Float

    def part(self, offset: int, channels: int) -> "ChannelRanges":
        """Views of some of the channels: scaling them scales these."""
        return ChannelRanges(
            self.minimum[offset : offset + channels], self.maximum[offset : offset + channels]
        )


def observe_channels(
    graph: "ir.Model",
    tensors: Sequence[str],
    normalization: Normalization,
    batches: Iterable[NDArray[np.uint8]],
    threads: int,
) -> dict[str, ChannelRanges]:
    """Watch tensors `[N, C, ...]` while the graph runs over batches of crops."""
    seen: dict[str, ChannelRanges] = {}
    for batch in run_watched(graph, tensors, normalization, batches, threads):
        for name, values in zip(tensors, batch, strict=True):
            rows = values.reshape(*values.shape[:2], -1)
            low = rows.min(axis=(0, 2)).astype(np.float64)
            high = rows.max(axis=(0, 2)).astype(np.float64)
            if name in seen:
                low = np.minimum(low, seen[name].minimum)
                high = np.maximum(high, seen[name].maximum)
            seen[name] = ChannelRanges(low, high)
    return seen
