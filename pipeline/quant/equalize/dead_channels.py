"""Remove channels that are always zero from the weights.

Rules:
 1. A channel that was 0 at every place of every calibration image, in each tensor that a layer
    reads it from, is dead.
 2. What its readers multiply it by cannot matter, and is set to 0: left in place, such weights can
    be huge (nothing ever trained them) and set the scale of a whole tensor.
 3. What computes it is set to 0 as well, bias included: all that is made of it is 0 again.

Exact on the calibration images; that others keep their predictions is proved by the stage.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.quant.equalize.channels import ChannelRanges
from pipeline.quant.equalize.coupling import Coupling
from pipeline.quant.equalize.weights import Weights


def remove_dead_channels(
    couplings: Sequence[Coupling], weights: Weights, ranges: Mapping[str, ChannelRanges]
) -> int:
    """Apply the rules in place; the number of dead channels."""
    removed = 0
    for coupling in couplings:
        dead = np.ones(coupling.channels, bool)
        for reader in coupling.readers:  # rule 1
            seen = ranges[reader.tensor].part(reader.offset, coupling.channels)
            dead &= (seen.maximum == 0) & (seen.minimum == 0)
        if not dead.any():
            continue
        removed += int(dead.sum())
        for reader in coupling.readers:  # rule 2
            end = reader.offset + coupling.channels
            weights.incoming(reader.node)[reader.offset : end][dead] = 0
        weights.outgoing(coupling.writer)[dead] = 0  # rule 3
        weights.bias(coupling.writer)[dead] = 0
    return removed
