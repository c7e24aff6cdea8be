"""What the toolkit takes without complaint and gets wrong, or fails on late: rules for a metafile.

Each is seen in the toolkit's sources (3.2.0) or its manual. Rules 6 to 12 and 15 are checked in
`metafile_quantization.py`, the others here; `metafile_check.py` lists them all.

 1. `${ENV:...}` and `${FILE:...}` are replaced before the file is read (an unset variable becomes
    nothing), so the text would not be what is compiled.
 2. `means` is one number per channel: a bare number breaks the CPU delegate, and another count
    fails late.
 3. `scale` is one number for all channels, and not 0.
 4. An input's `name` and `shape` need each other; the shape includes the batch. All inputs have
    a name or none has, and likewise the outputs; no name occurs twice.
 5. `data_layout: nhwc` is illegal for ONNX.
 6. `quantization` without `dataset` is silently none at all: a float16 model, up to 100 times
    slower. An empty dataset fails late, and `random` data quantizes for nothing.
 7. `quantization` needs `inputs`, be it `[{}]`, and one dataset for each of them.
 8. `scheme` has to be written (for int8 the default is power-of-two scales) and to fit
    `data_type`; the toolkit checks neither.
 9. `data_type: float16` for the whole model is rejected, although it is documented.
10. In a map of types, a layer never repeats the base type (the toolkit fails with a KeyError),
    uint8 and int8 do not mix, any other type is int16 or float16, and some layer has one.
11. Layers are named by `*`, `INPUTS`, `NAME`, `NAME...` or `@layerid`, of letters, digits and `_`.
12. Quantization and a CPU or GPU delegate exclude each other.
13. A delegate is npu, gpu, cpu or default; a map of delegates knows no `INPUTS`.
14. A CPU or GPU delegate can neither preprocess, nor dequantize outputs, nor be secured, and
    wants the model's own layout.
15. A dataset is a path below the metafile's folder, without spaces (the toolkit rejects them).
16. `security` names either a `file` or all four keys, unless `secure` is false.
17. `preprocess` of type float32 knows no `size`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.synap.metafile import Input, Metafile, ModelFormat, Output, metafile_text

KeyPath = tuple[str | int, ...]

DELEGATES = ("npu", "gpu", "cpu", "default")
_EXPANSION = re.compile(r"\$\{(ENV|FILE):")


@dataclass(frozen=True)
class Broken:
    """A rule that a metafile breaks, and where."""

    rule: int
    path: KeyPath
    text: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path)) or 'metafile'}: {self.text}"


Rule = Callable[[Metafile, ModelFormat | None], Iterator[Broken]]


def check_expansions(metafile: Metafile, _: ModelFormat | None) -> Iterator[Broken]:
    found = _EXPANSION.search(metafile_text(metafile))
    if found:
        yield Broken(
            1, (), f"${{{found[1]}:…}} would be replaced by the toolkit; write the value itself"
        )


def check_inputs(metafile: Metafile, model_format: ModelFormat | None) -> Iterator[Broken]:
    for number, tensor in enumerate(metafile.inputs or ()):
        here: KeyPath = ("inputs", number)
        channels = _channels(tensor, metafile, model_format)
        if tensor.means is not None and not tensor.means:
            yield Broken(2, (*here, "means"), "an empty list; give one number per channel")
        elif tensor.means and channels and len(tensor.means) != channels:
            yield Broken(
                2, (*here, "means"), f"{len(tensor.means)} numbers for {channels} channels"
            )
        if tensor.scale == 0:
            yield Broken(3, (*here, "scale"), "0 cannot divide; give one number that is not 0")
        if tensor.name is not None and tensor.shape is None:
            yield Broken(4, (*here, "name"), "with a name the shape has to be given, too")
        if tensor.shape is not None and tensor.name is None:
            yield Broken(4, (*here, "shape"), "with a shape the name has to be given, too")
        if tensor.shape is not None and len(tensor.shape) < 2:
            yield Broken(4, (*here, "shape"), "the batch has to be in it, as the first number")
        preprocess = tensor.preprocess
        if preprocess and preprocess.type == "float32" and preprocess.size is not None:
            yield Broken(17, (*here, "preprocess", "size"), "type float32 knows no size")


def _channels(tensor: Input, metafile: Metafile, model_format: ModelFormat | None) -> int | None:
    """Channels of an image input, where shape and layout of the model are known."""
    if tensor.shape is None or len(tensor.shape) != 4 or model_format is None:
        return None
    # The shape is the model's own, whatever layout is asked of the compiled one.
    return tensor.shape[1 if model_format == "onnx" else 3]


def check_names(metafile: Metafile, _: ModelFormat | None) -> Iterator[Broken]:
    lists: tuple[tuple[str, Sequence[Input | Output]], ...] = (
        ("inputs", metafile.inputs or ()),
        ("outputs", metafile.outputs or ()),
    )
    for field, tensors in lists:
        names = [tensor.name for tensor in tensors if tensor.name is not None]
        if names and len(names) != len(tensors):
            yield Broken(4, (field,), "name all of them or none")
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Broken(4, (field,), f"{name!r} is there twice")


def check_layout(metafile: Metafile, model_format: ModelFormat | None) -> Iterator[Broken]:
    if model_format == "onnx" and metafile.data_layout == "nhwc":
        yield Broken(5, ("data_layout",), "nhwc is illegal for ONNX, which is nchw")


def check_delegates(metafile: Metafile, model_format: ModelFormat | None) -> Iterator[Broken]:
    for pattern, word in metafile.delegates.items():
        if word not in DELEGATES:
            yield Broken(13, ("delegate",), f"unknown {word!r}; one of {', '.join(DELEGATES)}")
        if pattern == "INPUTS":
            yield Broken(13, ("delegate", pattern), "INPUTS cannot be given a delegate")
    if not {"cpu", "gpu"} & set(metafile.delegates.values()):
        return
    for number, tensor in enumerate(metafile.inputs or ()):
        if tensor.preprocess and tensor.preprocess.type not in ("", "none"):
            yield Broken(14, ("inputs", number, "preprocess"), "only the NPU can preprocess")
    for number, output in enumerate(metafile.outputs or ()):
        if output.dequantize:
            yield Broken(14, ("outputs", number, "dequantize"), "only the NPU can dequantize")
    if metafile.dequantize_outputs:
        yield Broken(14, ("dequantize_outputs",), "only the NPU can dequantize")
    if metafile.security is not None and metafile.security.secure is not False:
        yield Broken(14, ("security",), "only a model for the NPU can be secured")
    other = {"onnx": "nhwc", "tflite": "nchw"}.get(model_format or "")
    if other and metafile.data_layout == other:
        yield Broken(14, ("data_layout",), f"{other} only works on the NPU")


def check_security(metafile: Metafile, _: ModelFormat | None) -> Iterator[Broken]:
    security = metafile.security
    if security is None or security.secure is False:
        return
    keys = ("encryption_key", "signature_key", "model_certificate", "vendor_certificate")
    given = [key for key in keys if getattr(security, key) is not None]
    if security.file is not None and given:
        yield Broken(16, ("security",), f"`file` stands instead of {', '.join(given)}")
    if security.file is None and len(given) != len(keys):
        yield Broken(16, ("security",), f"give `file`, or all of {', '.join(keys)}")
