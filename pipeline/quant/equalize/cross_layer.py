"""Cross-layer equalization: give the channels of coupled layers equal ranges of weights.

Nagel et al., "Data-free quantization through weight equalization and bias correction" (arXiv
1906.04721, section 4.1): dividing a layer's output channel by s and multiplying what reads it by s
changes nothing, and `s = sqrt(r1 / r2)` makes both ranges the same.

Rules:
 1. Only through couplings (`coupling.py`), so through depthwise layers, pools and concats as well.
 2. Where a Clip bounds the channel at b, a channel that came near b in calibration keeps s = 1, and
    another is never scaled up to near b: within `MARGIN` of it, so that images which reach a little
    higher are not cut either. (Replacing ReLU6 by ReLU, as the paper does, costs accuracy.)
 3. A range of 0 on either side keeps s = 1.
 4. Layers are visited in graph order until no scale moves by more than `TOLERANCE`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.quant.equalize.channels import ChannelRanges, Float
from pipeline.quant.equalize.coupling import Coupling
from pipeline.quant.equalize.weights import Weights

ROUNDS = 40
TOLERANCE = 1e-3
MARGIN = 0.9
LARGEST_STEP = 1e4


def equalize_layers(
    couplings: Sequence[Coupling], weights: Weights, ranges: Mapping[str, ChannelRanges]
) -> dict[str, Float]:
    """Scale weights in place, and `ranges` with them; the total scale `[C]` by writer."""
    total = {coupling.writer: np.ones(coupling.channels) for coupling in couplings}
    for _ in range(ROUNDS):
        moved = 0.0
        for coupling in couplings:
            scale = _scale(coupling, weights, ranges)
            moved = max(moved, float(np.abs(np.log(scale)).max(initial=0.0)))
            _apply(coupling, scale, weights, ranges)
            total[coupling.writer] *= scale
        if moved < TOLERANCE:
            break
    return total


def _scale(coupling: Coupling, weights: Weights, ranges: Mapping[str, ChannelRanges]) -> Float:
    written = _magnitude(weights.outgoing(coupling.writer))
    read = np.zeros(coupling.channels)
    for reader in coupling.readers:
        rows = weights.incoming(reader.node)[reader.offset : reader.offset + coupling.channels]
        read = np.maximum(read, _magnitude(rows))
    usable = (written > 0) & (read > 0)  # rule 3
    ratio = np.divide(written, read, out=np.ones_like(written), where=usable)
    scale = np.clip(np.sqrt(ratio), 1 / LARGEST_STEP, LARGEST_STEP)
    for passage in coupling.passages:
        if passage.bound is not None:  # rule 2
            highest = ranges[passage.tensor].part(passage.offset, coupling.channels).maximum
            allowed = MARGIN * passage.bound
            scale = np.where(highest >= allowed, 1.0, np.maximum(scale, highest / allowed))
    return np.where(usable, scale, 1.0)


def _apply(
    coupling: Coupling, scale: Float, weights: Weights, ranges: Mapping[str, ChannelRanges]
) -> None:
    written = weights.outgoing(coupling.writer)
    written /= scale.reshape(-1, *[1] * (written.ndim - 1))
    if weights.has_bias(coupling.writer):
        weights.bias(coupling.writer)[:] /= scale
    for reader in coupling.readers:
        rows = weights.incoming(reader.node)[reader.offset : reader.offset + coupling.channels]
        rows *= scale.reshape(-1, *[1] * (rows.ndim - 1))
    for passage in coupling.passages:
        seen = ranges[passage.tensor].part(passage.offset, coupling.channels)
        seen.minimum[:] /= scale
        seen.maximum[:] /= scale


def _magnitude(rows: Float) -> Float:
    """Largest magnitude of every row `[C]`."""
    return np.asarray(np.abs(rows.reshape(len(rows), -1)).max(axis=1))
