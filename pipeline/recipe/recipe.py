"""The recipe as a whole."""

from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.checks import Checks
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
    def _onnx_declares_its_preprocessing(self) -> Self:
        if self.model.source == "onnx" and self.data.preprocess is None:
            raise ValueError("an ONNX file does not say what its input is; give data.preprocess")
        return self

    @model_validator(mode="after")
    def _auto_needs_selection_images(self) -> Self:
        if self.quantize.ranges == "auto" and self.data.selection is None:
            raise ValueError(
                "quantize.ranges: auto ranks candidates on data.selection, which is not given"
            )
        return self

    @model_validator(mode="after")
    def _tflite_can_be_handed_over(self) -> Self:
        reason = self.quantize.no_tflite_form
        if reason and (self.compile.delegate, self.compile.handoff) == ("npu", "tflite"):
            raise ValueError(f"compile.handoff: tflite is not possible, because {reason}; use onnx")
        return self

    @model_validator(mode="after")
    def _mixed_types_need_the_toolkit(self) -> Self:
        if self.quantize.layers and self.compile.delegate == "cpu":
            raise ValueError(
                "quantize.layers mixes types, which only the SyNAP toolkit can build; the CPU "
                "delegate has no such form (compile.delegate: npu, or only simulate with "
                "--until quantize)"
            )
        return self


def recipe_name(path: str) -> str:
    """The recipe's name: its file's name without the ending."""
    return PurePosixPath(path).stem
