"""The chain of stages, in order. A new stage is one module and one line here."""

from collections.abc import Sequence

from pipeline.recipe import SourceName
from pipeline.stages import compile, export, import_onnx, quantize, weights
from pipeline.stages.stage import Stage

STAGES: tuple[Stage, ...] = (weights.STAGE, export.STAGE, quantize.STAGE, compile.STAGE)
"""The whole chain, for models that PyTorch makes."""

FROM_ONNX: tuple[Stage, ...] = (import_onnx.STAGE, *STAGES[2:])
"""The chain of a model that comes as float ONNX: it starts at what `export` gives."""


def chain_of(source: SourceName) -> tuple[Stage, ...]:
    """The chain for models of this source."""
    return FROM_ONNX if source == "onnx" else STAGES


def stages_until(until: str | None, chain: Sequence[Stage]) -> tuple[Stage, ...]:
    """The chain up to and with the stage called `until`; all of it for None."""
    names = [stage.name for stage in chain]
    return tuple(chain) if until is None else tuple(chain[: names.index(until) + 1])


REFERENCE = "export"
"""The stage whose artifact is the float reference of every drop."""


def check_chain(stages: Sequence[Stage]) -> None:
    """Every stage takes what earlier ones give. Asserted once, before any work."""
    given: set[str] = set()
    for stage in stages:
        lacking = set(stage.takes) - given
        assert not lacking, f"stage {stage.name} takes {lacking}, which no stage before it gives"
        assert stage.artifact in stage.gives, f"stage {stage.name} checks what it does not give"
        given |= set(stage.gives)


check_chain(STAGES)
check_chain(FROM_ONNX)
