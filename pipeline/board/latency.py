"""Summary of inference times."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Latency:
    """Inference of one image, in ms, without reading, resizing and sorting."""

    median: float
    """What a check is held to: a single slow image (the first after a start) does not move it."""
    mean: float
    p95: float
    """95th percentile by nearest rank: the smallest time that 95 % of the images do not exceed."""


def latency_of(milliseconds: "NDArray[np.float64]") -> Latency:
    """Summary of times `[N]` in ms. Raises ValueError for none."""
    import numpy as np

    if not len(milliseconds):
        raise ValueError("there are no times")
    return Latency(
        median=float(np.median(milliseconds)),
        mean=float(np.mean(milliseconds)),
        p95=float(np.percentile(milliseconds, 95, method="inverted_cdf")),
    )
