"""The chain of stages, in order. A new stage is one module and one line here."""

from collections.abc import Sequence

from pipeline.stages import compile, export, quantize, weights
from pipeline.stages.stage import Stage

STAGES: tuple[Stage, ...] = (weights.STAGE, export.STAGE, quantize.STAGE, compile.STAGE)

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
