"""The rules for a metafile's `quantization`; the numbers are those of `metafile_rules.py`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from pipeline.synap.metafile import Metafile, ModelFormat, Quantization
from pipeline.synap.metafile_rules import Broken, KeyPath

LEGAL_SCHEMES: dict[str, tuple[str, ...]] = {
    "uint8": ("asymmetric_affine",),
    "int8": ("asymmetric_affine", "dynamic_fixed_point", "perchannel_symmetric_affine"),
    "int16": ("dynamic_fixed_point",),
}
_LAYER = re.compile(r"\*|INPUTS|[A-Za-z0-9_]+(\.\.\.)?|@[A-Za-z0-9_:./]+")


def check_quantization(metafile: Metafile, _: ModelFormat | None) -> Iterator[Broken]:
    quantization = metafile.quantization
    if quantization is None:
        return
    here: KeyPath = ("quantization",)
    dataset = quantization.dataset
    if not dataset:
        yield Broken(
            6,
            (*here, "dataset"),
            "without a dataset the toolkit does not quantize at all, and does not say so",
        )
    elif len(dataset) != len(metafile.inputs or ()):
        yield Broken(
            7,
            (*here, "dataset"),
            f"{len(dataset)} datasets for {len(metafile.inputs or ())} inputs; list the inputs, "
            "with `[{}]` where there is nothing to say of one",
        )
    for number, pattern in enumerate(dataset or ()):
        yield from _dataset(pattern, (*here, "dataset", number))
    yield from _types(quantization, here)
    beside = sorted({word for word in metafile.delegates.values() if word in ("cpu", "gpu")})
    if beside:
        yield Broken(12, here, f"quantization and the delegate {beside[0]} exclude each other")


def _dataset(pattern: str, here: KeyPath) -> Iterator[Broken]:
    if pattern == "random":
        yield Broken(6, here, "`random` quantizes to ranges that mean nothing; name real files")
        return
    path = PurePosixPath(pattern)
    if not pattern or any(letter.isspace() for letter in pattern):
        yield Broken(15, here, f"{pattern!r}: a path without spaces is needed")
    elif path.is_absolute() or ".." in path.parts:
        yield Broken(15, here, f"{pattern!r} leads out of the metafile's folder")


def _types(quantization: Quantization, here: KeyPath) -> Iterator[Broken]:
    place: KeyPath = (*here, "data_type")
    given = quantization.data_type or "uint8"
    base = given if isinstance(given, str) else _base_type(given)
    if isinstance(given, dict):
        yield from _mixed_types(given, base, place)
    elif given == "float16":
        yield Broken(
            9, place, "float16 for the whole model is rejected; leave `quantization` out for float"
        )
    legal = LEGAL_SCHEMES.get(base, ())
    if quantization.scheme in (None, "default"):
        yield Broken(8, (*here, "scheme"), f"write it; with {base}: {' or '.join(legal)}")
    elif legal and quantization.scheme not in legal:
        yield Broken(
            8,
            (*here, "scheme"),
            f"{quantization.scheme} is not for {base}; {base} goes with {' or '.join(legal)}",
        )


def _base_type(types: Mapping[str, str]) -> str:
    """The type that the toolkit quantizes the whole model to before it changes some layers."""
    small = [name for name in types.values() if name in ("uint8", "int8")]
    return small[0] if small else types.get("*", "uint8")


def _mixed_types(types: Mapping[str, str], base: str, place: KeyPath) -> Iterator[Broken]:
    if {"uint8", "int8"} <= set(types.values()):
        yield Broken(10, place, "uint8 and int8 cannot be mixed")
        return
    if base == "float16":
        yield Broken(10, place, "the base type has to be an integer one")
        return
    for layer, name in types.items():
        if not _LAYER.fullmatch(layer):
            yield Broken(
                11,
                (*place, layer),
                "not a layer: *, INPUTS, NAME, NAME... or @layerid, of letters, digits and _",
            )
        if name == base and layer != "*" and types.get("*", base) == base:
            yield Broken(10, (*place, layer), f"repeats the base type {base}; leave it out")
    if set(types.values()) <= {base}:
        yield Broken(10, place, f"no layer differs from {base}; write the type itself")
