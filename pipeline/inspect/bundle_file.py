"""Describe a `.synap` bundle: what it says of itself, and the models that are in it.

The zip and the wiring are the matter of `synap/bundle_read.py`; nothing is unpacked or run.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import StageError
from pipeline.inspect.cautions import float_cautions, image_layout, listed, tensor_cautions
from pipeline.inspect.inspection import Contents, QuantizationFacts, SubgraphFacts, TensorFacts
from pipeline.inspect.npu_model import npu_contents, target_hints
from pipeline.inspect.onnx_file import onnx_contents
from pipeline.inspect.printable import printable
from pipeline.inspect.schemes import Grid, quantization_of
from pipeline.inspect.tflite_file import INTEGERS, tflite_contents
from pipeline.synap.bundle import BUNDLE_INPUT, Bundle, Source, Subgraph, Tensor
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.handover import CPU_NOTICE
from pipeline.synap.stored_zip import read_directory, read_entry

MAX_DESCRIPTIONS = 512 << 10
"""Bytes of all JSON in a bundle, because objects take fifty times as much memory; the toolkit's
have a few kilobytes for every subgraph."""
MAX_TENSORS = 1_000
_LARGEST_FRACTION = 126
"""The fractional lengths whose scale `2**-fl` is an ordinary float32, either way."""
_SHORT_TYPES = {"u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16"}

INNER: dict[str, Callable[[bytes, str], Contents]] = {
    "npu": npu_contents,
    "onnx": onnx_contents,
    "tflite": tflite_contents,
}
"""By the first word of the meta's `delegate`: how the model itself is described."""


def describe_bundle(path: Path) -> Contents:
    """What is in a bundle. Raises StageError where it, or a model in it, is damaged."""
    _check_descriptions(path)
    bundle = read_bundle(path)
    if sum(len(s.inputs) + len(s.outputs) for s in bundle.subgraphs) > MAX_TENSORS:
        raise StageError(f"more than {MAX_TENSORS} inputs and outputs", where=str(path))
    subgraphs = tuple(_subgraph(number, s, path) for number, s in enumerate(bundle.subgraphs))
    inputs = tuple(_tensor(tensor, f"input {i}") for i, tensor in enumerate(bundle.inputs))
    outputs = tuple(_tensor(tensor, f"output {i}") for i, tensor in enumerate(bundle.outputs))
    pairs = zip(bundle.subgraphs, subgraphs, strict=True)
    found = {_quantization(subgraph, facts) for subgraph, facts in pairs}
    quantization = found.pop() if len(found) == 1 else None
    names = {facts.model.class_names for facts in subgraphs} - {()}
    return Contents(
        format="synap",
        facts={"subgraphs": len(subgraphs), "npu_build": bundle.is_npu_build},
        inputs=inputs,
        outputs=outputs,
        quantization=quantization,
        class_names=names.pop() if len(names) == 1 else (),
        delegates=bundle.delegates,
        target_hints=target_hints([facts.model for facts in subgraphs]),
        subgraphs=subgraphs,
        warnings=_cautions(bundle, subgraphs, quantization, inputs, outputs),
    )


def _check_descriptions(path: Path) -> None:
    """Raise StageError where the JSON of a bundle is more than descriptions can be. Whatever else
    is wrong with it, `read_bundle` says better."""
    where = str(path)
    try:
        with path.open("rb") as stream:
            entries = read_directory(stream, where)
            first = entries.get("bundle.json")
            if first is None or first.size > MAX_DESCRIPTIONS:
                size = 0 if first is None else first.size
            else:
                nodes = json.loads(read_entry(stream, first, where))["graph"]
                metas = {str(node["meta"]) for node in nodes}
                size = first.size + sum(entries[name].size for name in metas if name in entries)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    if size > MAX_DESCRIPTIONS:
        raise StageError(f"{size} bytes of JSON are too many for a bundle", where=where)


def _subgraph(number: int, subgraph: Subgraph, path: Path) -> SubgraphFacts:
    engine = subgraph.meta.delegate.split()[0]
    model = INNER[engine](subgraph.model, f"{path}: subgraph {number}")
    return SubgraphFacts(
        number=number,
        delegate=subgraph.delegate,
        engine=printable(subgraph.meta.delegate.strip()),
        entry=printable(subgraph.name),
        bytes=len(subgraph.model),
        sha256=hashlib.sha256(subgraph.model).hexdigest(),
        sources=tuple(_source(source) for source in subgraph.wiring),
        secure=subgraph.meta.secure,
        inputs=tuple(_named(subgraph.meta.inputs)),
        outputs=tuple(_named(subgraph.meta.outputs)),
        model=model,
    )


def _source(source: Source) -> str:
    if source.subgraph == BUNDLE_INPUT:
        return f"input {source.out}"
    return f"subgraph {source.subgraph} output {source.out}"


def _named(tensors: dict[str, Tensor]) -> list[TensorFacts]:
    return [_tensor(tensor, key) for key, tensor in tensors.items()]


def _tensor(tensor: Tensor, key: str) -> TensorFacts:
    grid = _grid(tensor)
    layout = tensor.format if tensor.format in ("nchw", "nhwc") else None
    return TensorFacts(
        name=printable(tensor.name if tensor.name is not None else key),
        shape=tensor.shape,
        dtype=tensor.dtype,
        layout=layout or image_layout(tensor.shape),
        scale=grid.scale if grid else (),
        zero_point=grid.zero_point if grid else (),
        means=tensor.mean or (),
        deviations=() if tensor.scale is None else (tensor.scale,),
        meaning=None if tensor.data_format is None else printable(tensor.data_format),
    )


def _grid(tensor: Tensor) -> Grid | None:
    """The integers of a tensor, as the runtime reads them; None of a float one."""
    quantize = tensor.quantize
    if quantize is None or tensor.quantizer in (None, "none"):
        return None
    given = quantize.qtype or tensor.dtype or "unknown"
    dtype = _SHORT_TYPES.get(given, given)
    if tensor.quantizer == "dynamic_fixed_point":
        lengths = _values(quantize.fl)
        if not lengths or any(abs(length) > _LARGEST_FRACTION for length in lengths):
            return None
        return Grid(dtype, tuple(math.ldexp(1.0, -int(f)) for f in lengths), (0,) * len(lengths))
    scales = tuple(map(float, _values(quantize.scale)))
    points = tuple(map(int, _values(quantize.zero_point))) or (0,) * len(scales)
    return Grid(dtype, scales, points) if scales else None


def _values(given: float | Sequence[float] | None) -> Sequence[float]:
    if given is None:
        return ()
    return given if isinstance(given, Sequence) else (given,)


def _quantization(subgraph: Subgraph, facts: SubgraphFacts) -> QuantizationFacts | None:
    """Of the model itself, or, of one for the NPU, what its inputs and outputs show; None where
    they are integers without a scale, which can be anything."""
    if facts.model.quantization is not None:
        return facts.model.quantization
    tensors = (*subgraph.inputs, *subgraph.outputs)
    grids = [grid for tensor in tensors if (grid := _grid(tensor))]
    types = [tensor.dtype for tensor in tensors if tensor.dtype is not None]
    found = quantization_of(grids, [], "inputs and outputs", types[0] if types else None)
    if found.kind == "float" and any(dtype in INTEGERS for dtype in types):
        return None
    return found


def _cautions(
    bundle: Bundle,
    subgraphs: Sequence[SubgraphFacts],
    quantization: QuantizationFacts | None,
    inputs: Sequence[TensorFacts],
    outputs: Sequence[TensorFacts],
) -> tuple[str, ...]:
    said = [] if bundle.is_npu_build else [_where_it_runs(bundle)]
    if bundle.is_npu_build:
        said += (
            ["nothing says whether it is quantized: there are no scales, or only in a part of it"]
            if quantization is None
            else float_cautions(quantization)
        )
    said += tensor_cautions(inputs, outputs)
    cut = [
        tensor.name
        for tensor in inputs
        if tensor.dtype not in (None, "float32", "float16")
        and any(not float(mean).is_integer() for mean in tensor.means)
    ]
    if cut:
        said.append(f"means with a fraction at {listed(cut)}: the runtime cuts them to integers")
    for facts in subgraphs:
        said += [
            f"subgraph {facts.number}: {word}"
            for word in (*facts.model.warnings, *_disagreements(facts))
        ]
    return tuple(said)


def _where_it_runs(bundle: Bundle) -> str:
    if set(bundle.delegates) == {"cpu"}:
        return CPU_NOTICE
    return f"runs on {', '.join(bundle.delegates)}: not wholly an NPU build"


def _disagreements(facts: SubgraphFacts) -> list[str]:
    """Where the bundle's description of a model is not what the model says of itself. The runtime
    goes by numbers, and copies as many bytes as the description says."""
    if facts.model.format == "npu":
        wanted = (facts.model.facts.get("inputs"), facts.model.facts.get("outputs"))
        described = (len(facts.inputs), len(facts.outputs))
        if wanted == described:
            return []
        return [
            f"the meta has {described[0]} inputs and {described[1]} outputs, the model {wanted[0]} "
            f"and {wanted[1]}"
        ]
    said = []
    for kind, described_as, really in (
        ("inputs", facts.inputs, facts.model.inputs),
        ("outputs", facts.outputs, facts.model.outputs),
    ):
        if len(described_as) != len(really):
            said.append(f"the meta has {len(described_as)} {kind}, the model {len(really)}")
            continue
        for meta, model in zip(described_as, really, strict=True):
            if not _fits(meta.shape, model.shape) or meta.dtype not in (None, model.dtype):
                said.append(
                    f"the meta says {meta.dtype} {_sides(meta.shape)} of {meta.name}, the model "
                    f"{model.dtype} {_sides(model.shape)}"
                )
    return said


def _fits(meta: tuple[int | str, ...] | None, model: tuple[int | str, ...] | None) -> bool:
    if meta is None or model is None:
        return True
    return len(meta) == len(model) and all(
        isinstance(side, str) or side == said for said, side in zip(meta, model, strict=True)
    )


def _sides(shape: tuple[int | str, ...] | None) -> str:
    return "?" if shape is None else f"[{', '.join(map(str, shape))}]"
