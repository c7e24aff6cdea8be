"""What a recipe can ask of a model that comes quantized."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.recipe import Recipe
from pipeline.stages import chain_of

VIEW = {"size": 32}


def recipe(source: str, **changes: Any) -> Recipe:
    draw = {"dataset": "digits", "images": 4}
    data: dict[str, Any] = {
        "schema": 1,
        "model": {"source": source, "name": "m"},
        "data": {"preprocess": VIEW, "calibration": draw, "evaluation": draw},
    }
    return Recipe.model_validate(data | changes)


@pytest.mark.parametrize(
    ("source", "changes", "stages"),
    [
        ("quantized-onnx", {}, ["export", "quantize", "lower", "compile"]),
        (
            "quantized-onnx",
            {"compile": {"delegate": "cpu"}, "checks": {"quantize": {"max_top1_drop": 0.01}}},
            ["export", "quantize", "lower", "compile"],
        ),
        ("quantized-tflite", {"checks": {"lower": {"min_top1": 0.6}}}, ["lower", "compile"]),
    ],
)
def test_chains_without_selection_images(source: str, changes: Any, stages: list[str]) -> None:
    assert [stage.name for stage in chain_of(recipe(source, **changes))] == stages


@pytest.mark.parametrize("source", ["quantized-onnx", "quantized-tflite"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantize": {"data_type": "int8"}}, "quantize is not possible"),
        ({"equalize": None}, "equalize is not possible"),
        ({"compile": {"handoff": "onnx"}}, "the toolkit would quantize again"),
        ({"checks": {"weights": {"min_top1": 0.5}}}, "no stage of that name"),
        ({"data": {"calibration": {"dataset": "digits"}, "evaluation": {"dataset": "digits"}}},
         "does not say what its input is"),
    ],
)  # fmt: skip
def test_what_no_quantized_model_can_give(source: str, changes: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe(source, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checks": {"compile": {"max_top1_drop": 0.01}}}, "without the float model"),
        ({"checks": {"lower": {"max_logit_error": 0.1}}}, "no stage before it"),
        ({"checks": {"export": {"min_top1": 0.5}}}, "no stage of that name"),
        ({"compile": {"delegate": "cpu"}}, "has no CPU bundle"),
        ({"compile": {"if_toolkit_missing": "cpu"}}, "has no CPU bundle"),
    ],
)
def test_what_a_quantized_tflite_cannot_give(changes: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe("quantized-tflite", **changes)


def test_a_sha1_is_of_a_model_file() -> None:
    model = {"source": "timm", "name": "m", "sha1": "0" * 40}
    with pytest.raises(ValidationError, match="give the sha256"):
        recipe("timm", model=model)
