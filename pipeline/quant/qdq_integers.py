"""The one kind of integers that a QDQ file's weights have as a Plan (rules 1 to 3 of
`plan_from_qdq.py`)."""

from collections.abc import Mapping

import numpy as np

from pipeline.errors import StageError
from pipeline.quant.qdq_read import EIGHT_BITS, Stored
from pipeline.recipe import DataType


def common_type(weights: Mapping[str, Stored], origins: Mapping[str, str]) -> DataType:
    """Rules 1 to 3; `origins` says whose weights they are, as the user knows it."""
    reasons = {}
    for name, item in weights.items():
        if item.grid.dtype not in ("uint8", "int8"):
            raise StageError(
                f"the weights {origins[name]} are {item.grid.dtype}; 8 bits are known",
                hint=EIGHT_BITS,
            )
        offset = 128 if item.grid.dtype == "uint8" else 0
        if (item.grid.zero_point != offset).any():
            reasons[name] = f"zero points other than 0 (as int8), such as {_first_zero(item)}"
        elif int(item.integers.min(initial=127 + offset)) - offset < -127:
            reasons[name] = "the integer -128, which symmetric weights do not use"
    if not reasons:
        return "int8"
    per_channel = [name for name, item in weights.items() if item.grid.axis is not None]
    if not per_channel:
        return "uint8"
    name = next((name for name in per_channel if name in reasons), next(iter(reasons)))
    raise StageError(
        f"the weights {origins[name]} have {reasons[name]}, and "
        f"{'they' if name in per_channel else f'those {origins[per_channel[0]]}'} have a scale for every "
        "channel; SyNAP and TFLite know per-channel weights only as symmetric int8",
        hint="quantize weights to integers from -127 to 127 with zero point 0 (onnxruntime: "
        "WeightSymmetric=True and QuantType.QInt8; PyTorch: quant_min=-127)",
    )


def _first_zero(item: Stored) -> int:
    offset = 128 if item.grid.dtype == "uint8" else 0
    zeros = item.grid.zero_point - offset
    return int(zeros[zeros != 0][0])


def moved(integers: np.ndarray, dtype: str, data_type: DataType) -> np.ndarray:
    """Integers or zero points of one type as those of the other that stand for the same."""
    return integers + {("uint8", "int8"): -128, ("int8", "uint8"): 128}.get((dtype, data_type), 0)
