"""The recipe's `checks`: what each stage has to hold."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.section import Section

FRACTION_LIMIT = 0.2
Drop = Annotated[float, Field(ge=0.0)]


class Thresholds(Section):
    """What a check demands. With any of the first four it is required, else only reported."""

    max_top1_drop: Drop | None = None
    """Largest loss of top-1 accuracy against the float reference, a fraction (0.005 is half a point;
    above 0.2 is refused, as points by mistake). Not for `weights` and `export`, which have no drop."""
    max_logit_error: Annotated[float, Field(gt=0)] | None = None
    """Largest absolute difference of a logit from the stage before."""
    min_top1: Annotated[float, Field(gt=0, le=1)] | None = None
    """Least top-1 accuracy, a fraction."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Largest median time of an inference on the board, in milliseconds; only for `compile`."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence of the statement about the drop, and, with `images: auto`, about `min_top1`."""
    accept: Literal["measured", "predicted"] = "measured"
    """Weakest evidence that suffices for PASS; `predicted` allows a stand-in for the NPU model, and
    is only for `compile`."""

    @model_validator(mode="after")
    def _drop_is_a_fraction(self) -> Self:
        if self.max_top1_drop is not None and self.max_top1_drop > FRACTION_LIMIT:
            raise ValueError(
                f"max_top1_drop {self.max_top1_drop:g} would allow a loss of "
                f"{self.max_top1_drop * 100:g} points; drops are fractions, so half a point is 0.005"
            )
        return self

    @property
    def required(self) -> bool:
        """Whether the recipe demands anything of this check."""
        limits = (self.max_top1_drop, self.max_logit_error, self.min_top1, self.max_latency_ms)
        return any(limit is not None for limit in limits)


class Checks(Section):
    """Thresholds by stage."""

    weights: Thresholds = Thresholds()
    export: Thresholds = Thresholds()
    equalize: Thresholds = Thresholds()
    quantize: Thresholds = Thresholds()
    lower: Thresholds = Thresholds()
    compile: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _only_the_compiled_model_runs_on_a_board(self) -> Self:
        for name in type(self).model_fields:
            if name != "compile" and getattr(self, name).max_latency_ms is not None:
                raise ValueError(f"{name} is not run on a board; compile.max_latency_ms is")
        return self

    @model_validator(mode="after")
    def _drops_need_a_reference(self) -> Self:
        for name in ("weights", "export"):
            if getattr(self, name).max_top1_drop is not None:
                raise ValueError(
                    f"{name} has no max_top1_drop, because drops are measured against the exported "
                    "float model; bound export.max_logit_error, or weights.min_top1"
                )
        return self
