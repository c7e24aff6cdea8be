"""Describe a TFLite file, whoever made it. It is neither loaded by LiteRT nor run."""

import io
import math
from pathlib import Path

from pydantic import ValidationError

from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError
from pipeline.inspect.cautions import for_the_npu, image_layout, listed, tensor_cautions
from pipeline.inspect.content import Damaged, read_content
from pipeline.inspect.inspection import Contents, Fact, QuantizationFacts, TensorFacts
from pipeline.inspect.onnx_file import in_bytes
from pipeline.inspect.printable import printable
from pipeline.inspect.schemes import quantization_of
from pipeline.inspect.tflite_model import TfliteModel, TfliteTensor, read_tflite
from pipeline.lower.metadata import ENTRY, LABELS
from pipeline.synap.stored_zip import read_directory, read_entry

INTEGERS = ("uint8", "int8", "int16", "int4", "uint4", "int2")
"""Types of quantized activations and weights; int32 is that of biases, axes and sizes."""
SCHEMA_VERSION = 3
MAX_LABELS = 1 << 20
"""Bytes of a list of class names."""
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and deviations in units of bytes."""


def describe_tflite(path: Path) -> Contents:
    """What is in a TFLite file. Raises StageError where it is none."""
    return for_the_npu(tflite_contents(read_content(path), str(path)))


def tflite_contents(content: bytes, where: str) -> Contents:
    """What is in a TFLite model. Raises StageError where it is none."""
    try:
        model = read_tflite(content)
    except Damaged as error:
        raise StageError(f"is not a readable TFLite model: {error}", where=where) from None
    normalization, unread = _normalization(model, where)
    labels, unlisted = _labels(content, where)
    inputs = tuple(_tensor(tensor, normalization) for tensor in model.inputs)
    outputs = tuple(_tensor(tensor, None) for tensor in model.outputs)
    quantization = _quantization(model)
    return Contents(
        format="tflite",
        facts=_facts(model),
        inputs=inputs,
        outputs=outputs,
        operators=dict(model.operators.most_common()),
        quantization=quantization,
        class_names=labels,
        warnings=(
            *tensor_cautions(inputs, outputs),
            *_model_cautions(model),
            *_label_cautions(labels, outputs),
            *unread,
            *unlisted,
        ),
    )


def _quantization(model: TfliteModel) -> QuantizationFacts:
    grids = [tensor for tensor in model.tensors if tensor.grid and tensor.dtype in INTEGERS]
    weights = [t.grid for t in grids if t.is_constant and t.grid]
    activations = [t.grid for t in grids if not t.is_constant and t.grid]
    sizes: dict[str, int] = {}
    for tensor in model.tensors:
        if tensor.is_constant and "float" in tensor.dtype:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
    most = max(sizes, key=lambda name: sizes[name], default=None)
    return quantization_of(activations, weights, "integer tensors", most)


def _tensor(tensor: TfliteTensor, normalization: Normalization | None) -> TensorFacts:
    layout = image_layout(tensor.shape)
    means, deviations = normalization if normalization and layout else ((), ())
    grid = tensor.grid
    return TensorFacts(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        layout=layout,
        scale=grid.scale if grid else (),
        zero_point=grid.zero_point if grid else (),
        axis=grid.axis if grid else None,
        means=means,
        deviations=deviations,
    )


def _normalization(model: TfliteModel, where: str) -> tuple[Normalization | None, list[str]]:
    """How images become the input, as a file of ours or TFLite's own metadata say, and what is
    wrong with what they say."""
    from pipeline.lower.metadata_read import normalization_in

    own = model.metadata.get(METADATA_KEY)
    if own is not None:
        try:
            view = Preprocess.model_validate_json(own)
        except ValidationError:
            return None, [f"its metadata {METADATA_KEY!r} are no preprocessing that is known here"]
        return (in_bytes(view.mean), in_bytes(view.std)), []
    metadata = model.metadata.get(ENTRY)
    try:
        found = None if metadata is None else normalization_in(metadata, where)
    except StageError as error:
        return None, [error.what]
    if found is None or not all(len(numbers) in (1, 3) for numbers in found):
        return None, []
    return (tuple(found[0]), tuple(found[1])), []


def _labels(content: bytes, where: str) -> tuple[tuple[str, ...], list[str]]:
    """The class names in the archive behind the model, and why they could not be read."""
    if content[-_ZIP_END_BYTES:][:4] != _ZIP_END:
        return (), []
    stream = io.BytesIO(content)
    try:
        entries = read_directory(stream, where)
        texts = [name for name in entries if name.endswith(".txt")]
        name = LABELS if LABELS in entries else texts[0] if len(texts) == 1 else None
        if name is None:
            return (), []
        if entries[name].size > MAX_LABELS:
            return (), [f"{entries[name].size} bytes of class names are not read"]
        lines = read_entry(stream, entries[name], where).decode("utf-8", errors="backslashreplace")
    except StageError as error:
        return (), [f"the archive behind the model is not read: {error.what}"]
    return tuple(printable(line) for line in lines.splitlines()), []


def _facts(model: TfliteModel) -> dict[str, Fact]:
    constants = [tensor for tensor in model.tensors if tensor.is_constant]
    facts: dict[str, Fact] = {
        "schema_version": model.version,
        "nodes": sum(model.operators.values()),
        "parameters": sum(_count(tensor) for tensor in constants),
    }
    facts |= {"description": model.description} if model.description else {}
    facts |= {"subgraphs": model.subgraphs} if model.subgraphs > 1 else {}
    facts |= {"metadata": ", ".join(model.metadata)} if model.metadata else {}
    return facts


def _count(tensor: TfliteTensor) -> int:
    """Numbers of a constant, which cannot be more than two for every byte."""
    count = math.prod(side for side in tensor.shape if isinstance(side, int))
    return min(count, 4 * tensor.bytes)


def _model_cautions(model: TfliteModel) -> list[str]:
    said = []
    if model.version != SCHEMA_VERSION:
        said.append(f"schema version {model.version}: {SCHEMA_VERSION} is known")
    foreign = [name for name in model.operators if name.startswith(("CUSTOM", "operator "))]
    if foreign:
        said.append(f"operators that are not TFLite's own: {listed(foreign)}")
    if model.subgraphs > 1:
        said.append(f"{model.subgraphs} subgraphs: the NPU runs models of one")
    return said


def _label_cautions(labels: tuple[str, ...], outputs: tuple[TensorFacts, ...]) -> list[str]:
    sides = [tensor.shape[-1] for tensor in outputs if tensor.shape]
    if not labels or len(labels) in sides:
        return []
    return [f"{len(labels)} class names, but outputs of {listed(map(str, sides))} values"]
