"""Read the toolkit's `model_info.txt`, to see whether what it compiled is quantized.

A metafile without a dataset compiles to a float16 model, without a word and up to 100 times
slower. The listing says so: it begins with the toolkit's version, and has for each subgraph a
YAML block with its inputs and outputs, where a quantized tensor has `quantization`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import StageError

MAX_BYTES = 64 << 20
_FIRST_LINE = re.compile(r"Model converted with SyNAP toolkit (\S+)")
_BLOCK = re.compile(
    r"^Detailed input/output information for (\S+):\n\n(.*?)(?=^={20,}$|\Z)", re.M | re.S
)


@dataclass(frozen=True)
class ListedTensor:
    """An input or output as the listing has it; `quantization` is the scheme, or empty."""

    name: str
    type: str
    quantization: str


@dataclass(frozen=True)
class ModelInfo:
    """What the listing says of a compiled model."""

    version: str
    """The toolkit's."""
    inputs: tuple[ListedTensor, ...]
    outputs: tuple[ListedTensor, ...]

    @property
    def is_quantized(self) -> bool:
        """Whether any input or output is made of quantized integers."""
        return any(tensor.quantization for tensor in (*self.inputs, *self.outputs))


def read_model_info(path: Path) -> ModelInfo:
    """Read a listing. Raises `StageError` if it is not one."""
    where = str(path)
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise StageError(f"cannot be read: {error.strerror}", where=where) from None
    first = _FIRST_LINE.match(text)
    blocks = _BLOCK.findall(text)
    if not first or not blocks:
        raise StageError("not a listing of the SyNAP toolkit", where=where)
    inputs: list[ListedTensor] = []
    outputs: list[ListedTensor] = []
    for name, block in blocks:
        try:
            data = yaml.safe_load(block)
        except (yaml.YAMLError, RecursionError, ValueError):
            data = None
        if not isinstance(data, dict):
            raise StageError(f"its description of {name} cannot be read", where=where)
        inputs += _tensors(data.get("inputs"), name, where)
        outputs += _tensors(data.get("outputs"), name, where)
    return ModelInfo(first[1], tuple(inputs), tuple(outputs))


def require_quantized(listings: Sequence[Path], *, by_toolkit: bool) -> ModelInfo:
    """What the listing says of a model that has to be quantized.

    `listings` are the files beside `model.synap`; `by_toolkit` says that the toolkit was to
    quantize it (else it came quantized), which leaves a `quantization_info.yaml`. Raises
    `StageError` if the model is a float one.
    """
    found = {path.name: path for path in listings}
    if "model_info.txt" not in found:
        raise StageError("the toolkit left no model_info.txt, so its model cannot be judged")
    info = read_model_info(found["model_info.txt"])
    where = str(found["model_info.txt"])
    hint = "a float model runs up to 100 times slower; see the metafile's `quantization`"
    if not info.is_quantized:
        kinds = ", ".join(f"{t.name} {t.type}" for t in (*info.inputs, *info.outputs))
        raise StageError(f"the toolkit compiled a float model ({kinds})", where=where, hint=hint)
    record = found.get("quantization_info.yaml")
    if by_toolkit and (record is None or not record.stat().st_size):
        raise StageError("the toolkit left no record of a quantization", where=where, hint=hint)
    return info


def _tensors(listed: Any, block: str, where: str) -> list[ListedTensor]:
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise StageError(f"its tensors of {block} cannot be read", where=where)
    return [
        ListedTensor(
            str(item.get("name")), str(item.get("type")), _scheme(item.get("quantization"))
        )
        for item in listed
    ]


def _scheme(quantization: Any) -> str:
    scheme = quantization.get("scheme") if isinstance(quantization, dict) else None
    return "" if scheme in (None, "none") else str(scheme)
