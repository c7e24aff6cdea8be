"""The chips a model can be compiled for: one YAML file each, in this folder.

Adding a target is adding `<name>.yaml` here; nothing else lists them.
"""

import difflib
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError

Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class Section(BaseModel):
    """A part of a target's file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class PublishedTimes(Section):
    """Inference times of one model, as the vendor publishes them; a claim, not a measurement."""

    model: Annotated[str, Field(min_length=1)]
    npu_ms: Milliseconds
    cpu_ms: Milliseconds | None = None
    cpu_threads: Count | None = None
    source: Annotated[str, Field(min_length=1)]
    """The document that says so."""
    note: str = ""
    """What keeps the times from being about our model."""


class Target(Section):
    """A chip, as the SyNAP toolkit knows it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Our name of it, and its file's."""
    toolkit_name: Word
    """What the converter's `--target` takes."""
    alias: Word
    """The converter's other name for the same chip."""
    npu_build_target: Word
    """Which NPU the toolkit's compiler builds for."""
    nn_cores: Count
    """Convolution cores."""
    tp_units: Count
    """Tensor-processing units."""
    tp_lite_units: Count = 0
    ddr_limit: Count
    """The DDR bandwidth limit that the toolkit's `optimize` sets, in the toolkit's own unit."""
    published: Annotated[tuple[PublishedTimes, ...], Field(strict=False)] = ()


def target_names() -> tuple[str, ...]:
    """The names of all targets, sorted: the YAML files of this folder."""
    found = (item.name for item in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def load_target(name: str) -> Target:
    """The target called `name`, in any case. Raises `UsageError` with the nearest known name."""
    known = target_names()
    if name.lower() not in known:
        raise UsageError(f"unknown target {name!r}", hint=_suggest(name, known))
    return _read(name.lower())


def _read(name: str) -> Target:
    file = files(__name__) / f"{name}.yaml"
    where = f"targets/{name}.yaml"
    try:
        target = Target.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML: {error}", where=where) from None
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError("; ".join(faults), where=where) from None
    if target.name != name:
        raise UsageError(f"the target calls itself {target.name!r}", where=where)
    return target


def _suggest(word: str, known: tuple[str, ...]) -> str:
    names = {name: name for name in known}
    names |= {_read(name).alias.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(names), n=1, cutoff=0.5)
    listed = f"targets: {', '.join(known)}, or all"
    return f"did you mean {names[close[0]]!r}? {listed}" if close else listed
