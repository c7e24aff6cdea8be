"""Look at what the toolkit made: is it what was handed over, quantized, and for this chip?

Rules, each a fault where it does not hold:
 1. The bundle is one subgraph of one image and one vector of scores, run by the NPU. Where the NPU
    converts pictures, their planes and the place of a crop may be inputs of their own.
 2. Its model is an EBGX container with as many inputs and outputs as its meta says.
 3. The container's hardware is not that of another target. Its values are known from an old header
    only; one that is not known is said to be so.
 4. The input has the model's height and width, in either layout, unless the NPU converts pictures
    in front of it, and the output has as many numbers as there are classes.
 5. Both are quantized (a metafile without a dataset gives a float16 model without a word), except
    an output that the metafile has dequantized.
 6. An integer model comes back with the scales and zero points it was handed over with, and the
    input with its means and scale, where the metafile has them and the NPU does not apply them.
 7. The toolkit's listing agrees that the model is quantized.

An unreadable bundle is no fault but an error: there is nothing to look at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.synap.bundle import Subgraph, Tensor
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.ebgx import CLAIMED_HARDWARE, parse_ebgx
from pipeline.synap.hand_over import Handed
from pipeline.synap.model_info import read_model_info, require_quantized
from pipeline.targets import Target

if TYPE_CHECKING:
    from pipeline.inspect.schemes import Grid

SCALE_TOLERANCE = 1e-4
"""Scales pass through text and float32 on their way."""
_Numbers = float | Sequence[float]
_SIGNED = {"i8": "int8", "u8": "uint8", "i16": "int16", "u16": "uint16"}
HARDWARE = "anything on hardware"


@dataclass(frozen=True)
class Built:
    """What was found."""

    toolkit_version: str | None
    faults: tuple[str, ...]
    verified: tuple[str, ...]
    """What was looked at and holds."""
    not_verified: tuple[str, ...]
    """What could not be seen from here."""


def check_build(model: Path, listings: Sequence[Path], handed: Handed, target: Target) -> Built:
    """Hold the toolkit's results against what it was given. Raises StageError for an unreadable
    bundle."""
    bundle = read_bundle(model)
    faults: list[str] = []
    verified: list[str] = []
    unseen = [HARDWARE]

    def look(what: str, found: Iterator[str]) -> None:
        wrong = list(found)
        faults.extend(wrong)
        if not wrong:
            verified.append(what)

    look("one subgraph for the NPU", _structure(bundle.subgraphs, handed))
    if len(bundle.subgraphs) == 1 and not faults:
        (subgraph,) = bundle.subgraphs
        look("an NPU model with these inputs and outputs", _container(subgraph))
        hardware = _hardware(subgraph)
        if hardware is None:
            unseen.append(f"that the model is for {target.toolkit_name}: its hardware is not known")
        else:
            look(f"built for {target.toolkit_name}", _same_target(hardware, target))
        if _converts(handed):
            unseen.append("the input's size, in front of which the NPU converts pictures")
            look("the model's class count", _class_count(subgraph.outputs[0], handed))
        else:
            look("the model's input size and class count", _sizes(subgraph, handed))
        look("input and output quantized", _quantized(subgraph, handed))
        if handed.ends is not None and not faults:
            what = "scales, zero points and means as handed over"
            if len(_normalization(subgraph.inputs[0], handed)) < 2:
                what = "scales and zero points as handed over"
                unseen.append(
                    "the input's means and scale, which the toolkit was left or compiled in"
                )
            look(what, _as_handed(subgraph, handed, handed.ends))
    version = None
    try:
        version = require_quantized(listings, by_toolkit=handed.by_toolkit).version
        verified.append("the toolkit's listing says quantized")
    except StageError as error:
        faults.append(str(error.what))
        listing = next((path for path in listings if path.name == "model_info.txt"), None)
        if listing is not None:
            version = _version(listing)
    return Built(version, tuple(faults), tuple(verified), tuple(unseen))


def _structure(subgraphs: Sequence[Subgraph], handed: Handed) -> Iterator[str]:
    if len(subgraphs) != 1:  # rule 1
        yield f"the bundle has {len(subgraphs)} subgraphs, one was handed over"
    for number, subgraph in enumerate(subgraphs):
        if subgraph.delegate != "npu":
            yield f"subgraph {number} is for the delegate {subgraph.meta.delegate!r}, not the NPU"
        inputs, outputs = len(subgraph.inputs), len(subgraph.outputs)
        # Planes of a picture (nv12, yuv444) and the place of a crop are inputs of their own [not run].
        if outputs != 1 or inputs < 1 or (inputs > 1 and not _converts(handed)):
            yield (
                f"subgraph {number} has {inputs} inputs and {outputs} outputs, one of each was handed "
                "over"
            )


def _container(subgraph: Subgraph) -> Iterator[str]:
    try:  # rule 2
        head = parse_ebgx(subgraph.model)
    except StageError as error:
        yield error.what
        return
    if (head.input_count, head.output_count) != (len(subgraph.inputs), len(subgraph.outputs)):
        yield (
            f"the NPU model has {head.input_count} inputs and {head.output_count} outputs, its meta "
            f"{len(subgraph.inputs)} and {len(subgraph.outputs)}"
        )


def _hardware(subgraph: Subgraph) -> str | None:
    try:
        return CLAIMED_HARDWARE.get(parse_ebgx(subgraph.model).hardware_type)
    except StageError:
        return None


def _same_target(hardware: str, target: Target) -> Iterator[str]:
    if hardware != target.alias:  # rule 3
        yield f"the NPU model is for {hardware}, not for {target.alias} ({target.toolkit_name})"


def _converts(handed: Handed) -> bool:
    """Whether the NPU makes the input of pictures of another kind, whose size is the metafile's."""
    before = [tensor.preprocess for tensor in handed.metafile.inputs or ()]
    return any(found is not None and found.type not in ("", "none") for found in before)


def _sizes(subgraph: Subgraph, handed: Handed) -> Iterator[str]:
    (height, width), shape = handed.size, subgraph.inputs[0].shape
    if shape not in ((1, height, width, 3), (1, 3, height, width)):  # rule 4
        yield f"the input is {list(shape)}, not one of {height} x {width} pixels"
    yield from _class_count(subgraph.outputs[0], handed)


def _class_count(scores: Tensor, handed: Handed) -> Iterator[str]:
    sides = [side for side in scores.shape if side != 1] or [1]
    if sides != [handed.classes]:
        yield f"the output is {list(scores.shape)}, not one of {handed.classes} classes"


def _real_output(handed: Handed) -> bool:
    """The toolkit takes either word for it: a `dequantize: false` takes nothing back."""
    outputs = handed.metafile.outputs or ()
    return bool(handed.metafile.dequantize_outputs or any(o.dequantize for o in outputs))


def _quantized(subgraph: Subgraph, handed: Handed) -> Iterator[str]:
    real_output = _real_output(handed)
    for kind, tensor in (("input", subgraph.inputs[0]), ("output", subgraph.outputs[0])):
        if tensor.quantizer in (None, "none") and not (kind == "output" and real_output):
            yield (  # rule 5
                f"the {kind} is {tensor.dtype or 'of an unknown type'}, not quantized: the model "
                "came out as float, up to 100 times slower"
            )


def _as_handed(subgraph: Subgraph, handed: Handed, ends: "tuple[Grid, Grid]") -> Iterator[str]:
    image, scores = subgraph.inputs[0], subgraph.outputs[0]
    yield from _same_scale("input", image, ends[0])
    if scores.quantizer not in (None, "none") and not _real_output(handed):
        yield from _same_scale("output", scores, ends[1])
    for name, (ours, theirs) in _normalization(image, handed).items():
        pairs = zip(_all(ours), _all(theirs), strict=False)
        if len(_all(ours)) != len(_all(theirs)) or not all(_close(*pair) for pair in pairs):
            yield f"the input's {name} came back as {theirs}, {ours} was handed over"


def _normalization(image: Tensor, handed: Handed) -> "dict[str, tuple[_Numbers, _Numbers]]":
    """Means and scale as handed over and as they came back, where there are both."""
    inputs = handed.metafile.inputs
    if not inputs:
        return {}
    both = {"means": (inputs[0].means, image.mean), "scale": (inputs[0].scale, image.scale)}
    return {
        name: (ours, theirs)
        for name, (ours, theirs) in both.items()
        if ours is not None and theirs is not None
    }


def _same_scale(kind: str, tensor: Tensor, given: "Grid") -> Iterator[str]:
    found = tensor.quantize
    if found is None or found.scale is None:
        yield f"the {kind} is quantized, but its meta has no scale"
        return
    scale, zero = _all(found.scale)[0], _all(found.zero_point or 0)[0]
    # The toolkit may keep int8 as uint8 or the other way round: the same integers, 128 apart.
    signed = _SIGNED.get(str(found.qtype), str(found.qtype))
    shift = {("int8", "uint8"): 128, ("uint8", "int8"): -128}.get((given.dtype, signed), 0)
    expected = given.zero_point[0] + shift
    if not _close(scale, given.scale[0]) or int(zero) != expected:
        yield (  # rule 6
            f"the {kind} came back with scale {scale:g} and zero point {zero:g}, "
            f"{given.scale[0]:g} and {expected} were handed over: the model was quantized again"
        )


def _close(first: float, second: float) -> bool:
    return isclose(first, second, rel_tol=SCALE_TOLERANCE)


def _all(given: _Numbers) -> Sequence[float]:
    return given if isinstance(given, Sequence) else (given,)


def _version(listing: Path) -> str | None:
    try:
        return read_model_info(listing).version
    except StageError:
        return None
