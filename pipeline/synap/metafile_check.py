"""Hold a metafile against every rule, and write one only if it breaks none."""

from pipeline.errors import StageError
from pipeline.synap.metafile import Metafile, ModelFormat, metafile_text
from pipeline.synap.metafile_quantization import check_quantization
from pipeline.synap.metafile_rules import (
    Broken,
    Rule,
    check_delegates,
    check_expansions,
    check_inputs,
    check_layout,
    check_names,
    check_security,
)

RULES: tuple[Rule, ...] = (
    check_expansions,
    check_inputs,
    check_names,
    check_layout,
    check_quantization,
    check_delegates,
    check_security,
)


def broken_rules(metafile: Metafile, model_format: ModelFormat | None = None) -> list[Broken]:
    """All rules that the metafile breaks; `model_format` is None where the model is not known."""
    return [broken for rule in RULES for broken in rule(metafile, model_format)]


def dump_metafile(metafile: Metafile, model_format: ModelFormat | None = None) -> str:
    """The YAML of a metafile. Raises `StageError` with every rule it breaks."""
    broken = broken_rules(metafile, model_format)
    if broken:
        raise StageError("\n  ".join(["the metafile would not work:", *map(str, broken)]))
    return metafile_text(metafile)
