"""Describe a conversion metafile: what it asks of the toolkit, and every rule that it breaks."""

import json
import re
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.inspect.inspection import Contents, Fact, QuantizationFacts, TensorFacts
from pipeline.inspect.printable import printable
from pipeline.synap.metafile import Input, Metafile, Output, Quantization
from pipeline.synap.metafile_check import broken_rules
from pipeline.synap.metafile_read import parse_metafile

MAX_TENSORS = 1_000
MAX_BYTES = 1 << 17
"""Of a metafile; people write a thousand, and YAML takes seconds and much memory for a million."""
MODEL_RULES = "without the model the rules on layouts and on the number of means cannot be checked"
_EXPANSIONS = 1
"""The rule that is checked on the text, before anything else."""
_MAX_DEPTH = 64
_RECIPE = re.compile(r"^schema:", re.M)


def describe_metafile(path: Path) -> Contents:
    """What is in a metafile. Broken rules are `violations`.

    Raises UsageError where it cannot be read at all: no YAML, unknown fields, wrong types.
    """
    text = _text(path)
    violations: list[str] = []
    try:
        metafile = parse_metafile(text, str(path))
    except UsageError as error:
        fields = _fields(text)
        if fields is None:
            raise _explained(error, text, path) from None
        metafile = fields
        violations = _lines(error, metafile)
    inputs, outputs = metafile.inputs or (), metafile.outputs or ()
    if max(len(inputs), len(outputs)) > MAX_TENSORS:
        raise UsageError(f"more than {MAX_TENSORS} inputs or outputs", where=str(path))
    layout = metafile.data_layout if metafile.data_layout in ("nchw", "nhwc") else None
    return Contents(
        format="metafile",
        facts=_facts(metafile),
        inputs=tuple(_input(tensor, number, layout) for number, tensor in enumerate(inputs)),
        outputs=tuple(_output(tensor, number) for number, tensor in enumerate(outputs)),
        quantization=_quantization(metafile.quantization),
        delegates=tuple(dict.fromkeys(map(printable, metafile.delegates.values()))),
        violations=tuple(printable(line, 500) for line in violations),
        warnings=(*_cautions(metafile), MODEL_RULES),
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"more than {MAX_BYTES} bytes are no metafile", where=str(path))
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from None


def _fields(text: str) -> Metafile | None:
    """The fields of a metafile that breaks rules, or None where it has not even these.

    Words that YAML 1.1 and 1.2 read differently are read as 1.1 does; that they are there is among
    the violations already. Aliases are refused, because they can stand for more than any memory.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            # The scanner's time grows with the square of the depth.
            if isinstance(event, yaml.AliasEvent) or depth > _MAX_DEPTH:
                return None
        data = yaml.safe_load(text)
        return Metafile.model_validate_json(json.dumps(data), strict=True)
    except (yaml.YAMLError, ValidationError, ValueError, TypeError, RecursionError):
        return None


def _explained(error: UsageError, text: str, path: Path) -> UsageError:
    if not _RECIPE.search(text):
        return error
    return UsageError(
        "a recipe, or another YAML file, not a conversion metafile", where=str(path),
        hint="`pipeline plan FILE` reads recipes",
    )  # fmt: skip


def _lines(error: UsageError, metafile: Metafile) -> list[str]:
    """Each broken rule once: what was said with its line, and what was not reached any more."""
    lines = error.what.split("\n")
    if error.where:
        hint = f"; {error.hint}" if error.hint else ""
        lines = [f"{error.where}: {error.what}{hint}"]
    later = [str(broken) for broken in broken_rules(metafile) if broken.rule != _EXPANSIONS]
    return lines + [text for text in later if not any(line.endswith(text) for line in lines)]


def _input(tensor: Input, number: int, layout: str | None) -> TensorFacts:
    return TensorFacts(
        name=printable(tensor.name or f"input {number}"),
        shape=tensor.shape,
        layout=layout,
        means=tensor.means or (),
        deviations=() if tensor.scale is None else (tensor.scale,),
        meaning=None if tensor.format is None else printable(tensor.format),
    )


def _output(tensor: Output, number: int) -> TensorFacts:
    return TensorFacts(
        name=printable(tensor.name or f"output {number}"),
        shape=tensor.shape,
        meaning=None if tensor.format is None else printable(tensor.format),
    )


def _quantization(section: Quantization | None) -> QuantizationFacts | None:
    if section is None:
        return None
    given = section.data_type or "uint8"
    types = sorted({given} if isinstance(given, str) else set(given.values()))
    scheme = None if section.scheme in (None, "default") else section.scheme
    if not section.dataset:  # the toolkit quantizes nothing then
        return QuantizationFacts("float")
    return QuantizationFacts(
        "quantized", form="by the toolkit", data_type="+".join(types), scheme=scheme
    )


def _facts(metafile: Metafile) -> dict[str, Fact]:
    given = metafile.model_dump(
        mode="json",
        exclude_none=True,
        include={"optimize", "data_layout", "input_format", "output_format", "dequantize_outputs"},
    )
    facts: dict[str, Fact] = {
        key: printable(value) if isinstance(value, str) else value for key, value in given.items()
    }
    quantization = metafile.quantization
    if quantization is not None:
        for key in ("mode", "algorithm"):
            word = getattr(quantization, key)
            facts |= {key: word} if word else {}
        if quantization.dataset:
            facts["dataset"] = printable(", ".join(quantization.dataset[:MAX_TENSORS]))
    if metafile.security is not None:
        facts["secure"] = metafile.security.secure is not False
    for number, tensor in enumerate((metafile.inputs or ())[:MAX_TENSORS]):
        if tensor.preprocess is not None:
            size = tensor.preprocess.size
            at = f" {size[0]}x{size[1]}" if size else ""
            facts[f"preprocess_{number}"] = f"{tensor.preprocess.type}{at} on the NPU"
    return facts


def _cautions(metafile: Metafile) -> list[str]:
    runs_on_npu = {"npu", "default"} & set(metafile.delegates.values())
    if metafile.quantization is None and runs_on_npu:
        return [
            "no quantization: a model that is float stays so, as float16 up to 100 times slower; "
            "right for one that is quantized already"
        ]
    return []
