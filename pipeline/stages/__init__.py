"""The chain of stages, in order. A new stage is one module and one line here."""

from collections.abc import Sequence

from pipeline.recipe import Recipe
from pipeline.stages import (
    compile,
    compile_tflite,
    equalize,
    export,
    import_onnx,
    import_qdq,
    import_tflite,
    lower,
    quantize,
    weights,
)
from pipeline.stages.stage import Stage

STAGES: tuple[Stage, ...] = (
    weights.STAGE,
    export.STAGE,
    equalize.STAGE,
    quantize.STAGE,
    lower.STAGE,
    compile.STAGE,
)
"""The whole chain."""


def chain_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The chain of a recipe: a float model file starts at what `export` gives, a quantized one at
    what `lower` gives, `equalize: null` leaves that stage out, and `compile` needs the TFLite only to
    hand it over."""
    chain = list(STAGES)
    if recipe.model.source == "quantized-tflite":
        chain = [import_tflite.QUANTIZED, compile_tflite.STAGE]
        check_chain(chain)
        return tuple(chain)
    if recipe.model.source == "quantized-onnx":
        chain = [import_qdq.EXPORT, import_qdq.QUANTIZE, lower.STAGE, compile.STAGE]
        check_chain(chain)
        return for_delegate(chain, recipe.compile.delegate)
    first = {"onnx": import_onnx.STAGE, "tflite": import_tflite.FLOAT}.get(recipe.model.source)
    if first is not None:
        chain = [first, *chain[2:]]
    if recipe.equalize is None:
        chain = [
            quantize.WITHOUT_EQUALIZE if stage is quantize.STAGE else stage
            for stage in chain
            if stage is not equalize.STAGE
        ]
    if recipe.compile.handoff == "onnx":
        chain[-1] = compile.WITHOUT_TFLITE
    check_chain(chain)
    return for_delegate(chain, recipe.compile.delegate)


def for_delegate(stages: Sequence[Stage], delegate: str) -> tuple[Stage, ...]:
    """The chain once the delegate is decided: a run that falls back to the CPU needs no TFLite form,
    because bundles for the CPU hold ONNX."""
    return tuple(
        compile.WITHOUT_TFLITE if stage is compile.STAGE and delegate == "cpu" else stage
        for stage in stages
    )


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
