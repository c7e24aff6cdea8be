"""Which of SyNAP's schemes the integers of a model belong to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.inspect.inspection import QuantizationFacts


@dataclass(frozen=True)
class Grid:
    """The integers of one tensor: `real = scale * (integer - zero_point)`; one value each, or one
    for every index of `axis`."""

    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @property
    def per_channel(self) -> bool:
        return len(self.scale) > 1

    @property
    def is_symmetric(self) -> bool:
        return not any(self.zero_point)

    @property
    def is_power_of_two(self) -> bool:
        return self.is_symmetric and all(map(is_power_of_two, self.scale))


def is_power_of_two(scale: float) -> bool:
    """Whether a scale is `2**-fl` of some fractional length `fl`."""
    return math.isfinite(scale) and scale > 0 and math.frexp(scale)[0] == 0.5


def quantization_of(
    activations: Sequence[Grid], weights: Sequence[Grid], form: str, float_type: str | None
) -> QuantizationFacts:
    """What a model is, by the grids of its activations and weights (biases are no weights);
    `float_type` is the type of its weights where none has a grid."""
    grids = [*activations, *weights]
    if not grids:
        return QuantizationFacts("float", data_type=float_type)
    types = sorted({grid.dtype for grid in activations or weights})
    return QuantizationFacts(
        "quantized" if activations else "weights only",
        form=form,
        data_type="+".join(types),
        scheme=_scheme(activations, weights),
        tensors=len(grids),
    )


def _scheme(activations: Sequence[Grid], weights: Sequence[Grid]) -> str | None:
    grids = [*activations, *weights]
    if all(grid.is_power_of_two and not grid.per_channel for grid in grids):
        return "dynamic_fixed_point"
    if any(grid.per_channel for grid in activations):
        return None
    channels = [grid for grid in weights if grid.per_channel]
    if not channels:
        return "asymmetric_affine"
    symmetric = all(grid.is_symmetric for grid in channels)
    return "perchannel_symmetric_affine" if symmetric else None
