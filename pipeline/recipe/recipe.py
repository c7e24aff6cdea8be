"""The recipe as a whole."""

from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.checks import Checks, Thresholds
from pipeline.recipe.compile import Compile, Device
from pipeline.recipe.data import Data
from pipeline.recipe.model import Model
from pipeline.recipe.quantize import Equalize, Quantize
from pipeline.recipe.section import Section

SCHEMA_VERSION = 1


class Recipe(Section):
    """A conversion, from weights to `.synap`."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this schema: 1."""
    model: Model
    data: Data
    equalize: Equalize | None = Equalize()
    """Leave it out for the defaults; `null` for no such stage."""
    quantize: Quantize = Quantize()
    compile: Compile = Compile()
    device: Device | None = None
    """A board to measure the compiled model on; without one it is judged by what can be run here."""
    checks: Checks = Checks()

    @model_validator(mode="after")
    def _files_come_with_a_preprocessing(self) -> Self:
        if self.model.is_file and self.data.preprocess is None:
            raise ValueError("a model file does not say what its input is; give data.preprocess")
        return self

    @model_validator(mode="after")
    def _quantized_is_taken_as_it_is(self) -> Self:
        if self.model.comes_quantized:
            wrong = self._asked_of_a_quantized_model()
            if wrong is not None:
                raise ValueError(wrong)
        return self

    def _asked_of_a_quantized_model(self) -> str | None:
        """What the recipe wants and a model that comes quantized cannot give."""
        for name in ("equalize", "quantize"):
            if name in self.model_fields_set:
                return f"{name} is not possible: the model is quantized already"
        if self.compile.handoff == "onnx":
            return "compile.handoff: onnx is not possible: the toolkit would quantize again"
        return self._asked_of_a_tflite() if self.model.source == "quantized-tflite" else None

    def _asked_of_a_tflite(self) -> str | None:
        for name in ("lower", "compile"):
            if getattr(self.checks, name).max_top1_drop is not None:
                return (
                    f"checks.{name}.max_top1_drop: a quantized TFLite comes without the float model that "
                    f"drops are measured against; bound checks.{name}.min_top1"
                )
        if self.compile.delegate == "cpu" or self.compile.if_toolkit_missing == "cpu":
            return (
                "compile: a quantized TFLite has no CPU bundle, because those hold ONNX; measure it "
                "with --until lower where there is no toolkit"
            )
        return None

    @model_validator(mode="after")
    def _checks_are_of_stages(self) -> Self:
        first, absent = self._beginning()
        for name in absent:
            if getattr(self.checks, name) != Thresholds():
                raise ValueError(f"checks.{name}: this recipe has no stage of that name")
        if getattr(self.checks, first).max_logit_error is not None:
            raise ValueError(
                f"checks.{first}.max_logit_error: there is no stage before it to differ from; bound "
                "min_top1"
            )
        return self

    def _beginning(self) -> tuple[str, tuple[str, ...]]:
        """The first stage of the chain, and those that the chain has not."""
        if self.model.source == "quantized-tflite":
            return "lower", ("weights", "export", "equalize", "quantize")
        no_equalize = self.model.comes_quantized or self.equalize is None
        equalize = ("equalize",) if no_equalize else ()
        return ("export", ("weights", *equalize)) if self.model.is_file else ("weights", equalize)

    @model_validator(mode="after")
    def _auto_needs_selection_images(self) -> Self:
        auto = not self.model.comes_quantized and self.quantize.ranges == "auto"
        if auto and self.data.selection is None:
            raise ValueError(
                "quantize.ranges: auto ranks candidates on data.selection, which is not given"
            )
        return self

    @model_validator(mode="after")
    def _tflite_can_be_handed_over(self) -> Self:
        reason = None if self.model.comes_quantized else self.quantize.no_tflite_form
        if reason and (self.compile.delegate, self.compile.handoff) == ("npu", "tflite"):
            raise ValueError(f"compile.handoff: tflite is not possible, because {reason}; use onnx")
        return self

    @model_validator(mode="after")
    def _mixed_types_need_the_toolkit(self) -> Self:
        for_cpu = "cpu" in (self.compile.delegate, self.compile.if_toolkit_missing)
        if self.quantize.layers and for_cpu:
            raise ValueError(
                "quantize.layers: mixes types, which only the SyNAP toolkit can build; the CPU "
                "delegate has no such form (compile.delegate: npu, without if_toolkit_missing: cpu; or "
                "only simulate with --until quantize)"
            )
        return self


def recipe_name(path: str) -> str:
    """The recipe's name: its file's name without the ending."""
    return PurePosixPath(path).stem
