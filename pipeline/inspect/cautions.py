"""What speaks against a model that is sound in itself, in words: the rules that formats share.

Sources: the SyNAP toolkit's manual and sources (3.2.0) and the runtime's.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.inspect.inspection import Contents, QuantizationFacts, TensorFacts

_SHOWN = 5


def listed(names: Iterable[str]) -> str:
    """The first few names of many."""
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def float_cautions(quantization: QuantizationFacts) -> list[str]:
    """Of a model that the NPU would not run in integers."""
    if quantization.kind == "quantized":
        return []
    what = "float model" if quantization.kind == "float" else "only the weights are integers"
    return [f"{what}: the NPU would run it as float16, up to 100 times slower"]


def for_the_npu(contents: Contents) -> Contents:
    """A model file with what is said where the NPU is what it is for; inside a bundle it may not
    be."""
    assert contents.quantization is not None, "model files have one"
    cautions = float_cautions(contents.quantization)
    return replace(contents, warnings=(*cautions, *contents.warnings))


def tensor_cautions(inputs: Sequence[TensorFacts], outputs: Sequence[TensorFacts]) -> list[str]:
    """Of types, shapes and scales that SyNAP cannot take as they are."""
    tensors = [*inputs, *outputs]
    said = []
    wide = [tensor.name for tensor in tensors if tensor.dtype == "int64"]
    if wide:
        said.append(f"int64 at {listed(wide)}: SyNAP's runtime cannot feed or read it")
    said += _free_dimensions(tensors)
    several = [tensor.name for tensor in tensors if len(tensor.scale) > 1]
    if several:
        said.append(f"several scales at {listed(several)}: SyNAP takes the first for all")
    spread = [tensor.name for tensor in inputs if len(set(tensor.deviations)) > 1]
    if spread:
        said.append(
            f"a deviation for every channel at {listed(spread)}: SyNAP knows one `scale` for all"
        )
    wrong = [
        tensor.name
        for tensor in tensors
        if not all(math.isfinite(scale) and scale > 0 for scale in tensor.scale)
    ]
    if wrong:
        said.append(f"a scale that is no positive number at {listed(wrong)}")
    return said


def _free_dimensions(tensors: Sequence[TensorFacts]) -> list[str]:
    batch, other, unknown = [], [], []
    for tensor in tensors:
        free = [isinstance(side, str) for side in tensor.shape or ()]
        if tensor.shape is None:
            unknown.append(tensor.name)
        elif any(free[1:]):
            other.append(tensor.name)
        elif any(free):
            batch.append(tensor.name)
    said = []
    if unknown:
        said.append(f"no shape at {listed(unknown)}: the NPU wants every size fixed")
    if other:
        said.append(f"free sizes at {listed(other)}: the NPU wants every size fixed")
    if batch:
        said.append(f"the batch size is free at {listed(batch)}: it has to be fixed to 1")
    return said


def image_layout(shape: Sequence[int | str] | None) -> str | None:
    """The layout of an image of three channels, None for anything else."""
    if shape is None or len(shape) != 4:
        return None
    if shape[1] == 3:
        return "nchw"
    return "nhwc" if shape[3] == 3 else None
