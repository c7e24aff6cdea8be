"""The Plan: every decision of a quantization as plain data, and the only place they live.

Renderings (QDQ ONNX, integer TFLite, SyNAP's metafile) decide nothing: they write what stands
here. A Plan says which Graph it belongs to, and is deterministic to the byte.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.artifact import write_text
from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.quant.scheme import INT8, INT8_SYMMETRIC, INT16, UINT8, IntegerType
from pipeline.recipe import DataType, LayerType, Scheme

TYPES: dict[str, IntegerType] = {"uint8": UINT8, "int8": INT8, "int16": INT16}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorPlan(_Part):
    """How one tensor becomes integers. `scale` and `zero_point` have one value, or one for every
    index of `axis`."""

    data_type: DataType
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    minimum: float | None = None
    """Lower end of the range that was chosen, before it was fitted to integers."""
    maximum: float | None = None
    source: str
    """Where the range came from."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(self.scale) != len(self.zero_point) or (self.axis is None and len(self.scale) != 1):
            raise ValueError("a scale and a zero point per tensor, or per index of the axis")
        type = TYPES[self.data_type]
        if not all(scale > 0 for scale in self.scale):
            raise ValueError("scales have to be positive")
        if not all(type.minimum <= zero <= type.maximum for zero in self.zero_point):
            raise ValueError(f"a zero point is outside {self.data_type}")
        return self


class BiasPlan(_Part):
    """A node's int32 bias: `round((bias + correction) / scale)`, zero point 0."""

    scale: tuple[float, ...]
    """Scale of the node's input times scale of its weights."""
    correction: tuple[float, ...] | None = None
    """What is added to the float bias first, per output channel."""
    source: str = ""
    """Where the correction came from."""


class Plan(_Part):
    """The quantization of one Graph."""

    schema_version: Literal[1] = 1
    graph_sha256: str
    data_type: DataType
    scheme: Scheme
    input: str
    """Name of the model's input tensor."""
    normalization: Normalization
    """How image bytes become the quantized model's real-valued input."""
    activations: dict[str, TensorPlan]
    """By tensor name, in graph order."""
    weights: dict[str, TensorPlan]
    """By initializer name, in graph order."""
    biases: dict[str, BiasPlan]
    """By node name, in graph order. A layer that stays float is in neither of the three."""
    layers: dict[str, LayerType] = {}
    """The layers with a type of their own, as the recipe names them."""

    @property
    def is_mixed(self) -> bool:
        """Whether it has a form only in the SyNAP toolkit's own quantization."""
        return bool(self.layers)


def weight_type(data_type: DataType) -> IntegerType:
    """The integers of weights: int8 ones are symmetric."""
    return INT8_SYMMETRIC if data_type == "int8" else TYPES[data_type]


def save_plan(plan: Plan, path: Path) -> None:
    """Write a Plan as JSON, one tensor a line, so that two Plans can be compared as text."""
    data = plan.model_dump(mode="json")
    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and key in ("activations", "weights", "biases"):
            rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items()]
            lines.append(f"{json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def load_plan(path: Path) -> Plan:
    """Read a Plan. Raises StageError where it is damaged."""
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"is not a readable Plan: {error}", where=str(path)) from None
