"""Absorb high biases into the layers behind.

Nagel et al., arXiv 1906.04721, section 4.1.3: where an activation never comes near 0, its offset
only widens the range; it is taken off the writer's bias and given to the readers'.

Rules:
 1. Only channels whose least activation over all calibration images is above 0; half of it is
    absorbed, so that images which reach a little lower are not cut.
 2. Where a Clip bounds the channel, only one that stays below the bound: a clipped value would not
    move with the others.
 3. Only where no reader and no passage pads with zeros, because padding stays 0 while the channel
    moves.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.quant.equalize.channels import ChannelRanges
from pipeline.quant.equalize.coupling import Coupling
from pipeline.quant.equalize.cross_layer import MARGIN
from pipeline.quant.equalize.weights import Weights

PART = 0.5


def absorb_high_biases(
    couplings: Sequence[Coupling], weights: Weights, ranges: Mapping[str, ChannelRanges]
) -> int:
    """Apply the rules in place; the number of channels that moved."""
    moved = 0
    for coupling in couplings:
        activated = next((p for p in coupling.passages if p.activated), None)
        padded = any(reader.padded for reader in coupling.readers) or coupling.pads_zeros
        if activated is None or padded:  # rule 3
            continue
        seen = ranges[activated.tensor].part(activated.offset, coupling.channels)
        offset = PART * np.maximum(seen.minimum, 0.0)  # rule 1
        for passage in coupling.passages:
            if passage.bound is not None:  # rule 2
                highest = ranges[passage.tensor].part(passage.offset, coupling.channels).maximum
                offset = np.where(highest < MARGIN * passage.bound, offset, 0.0)
        if not offset.any():
            continue
        moved += int((offset > 0).sum())
        weights.bias(coupling.writer)[:] -= offset
        for reader in coupling.readers:
            rows = weights.incoming(reader.node)[reader.offset : reader.offset + coupling.channels]
            if weights.is_depthwise(reader.node):
                weights.bias(reader.node)[:] += offset * rows.reshape(len(rows), -1).sum(axis=1)
            else:
                # Rows are [C, K, ...]: summed over places, then over channels.
                sums = rows.reshape(*rows.shape[:2], -1).sum(axis=2)
                weights.bias(reader.node)[:] += offset @ sums
        for passage in coupling.passages:
            part = ranges[passage.tensor].part(passage.offset, coupling.channels)
            part.minimum[:] -= offset
            part.maximum[:] -= offset
    return moved
