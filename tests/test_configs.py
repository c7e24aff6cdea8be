"""The recipes that are shipped, and the published JSON Schema."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import pipeline
from pipeline.recipe_file import load_recipe

CONFIGS = sorted((Path(pipeline.__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema(lab: Any) -> Any:
    done = lab.call([sys.executable, "-m", "pipeline", "schema"])
    assert done.code == 0, done.err
    return done.json


@pytest.fixture(scope="module")
def validator(schema: Any) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_there_are_recipes() -> None:
    assert {"inception_v4", "inception_v4_digits"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path).recipe
    assert recipe.checks.compile.required
    if recipe.model.source == "quantized-tflite":  # which has no float model to lose against
        assert recipe.checks.lower.required
    else:
        drop = recipe.checks.quantize.max_top1_drop
        assert drop is not None and drop <= 0.05
    assert recipe.data.calibration.dataset == recipe.data.evaluation.dataset


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_of_the_schema(path: Path, validator: Any) -> None:
    errors = [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))]
    assert errors == []


def test_the_demo_needs_no_download_and_says_when_it_falls_back() -> None:
    recipe = load_recipe(next(p for p in CONFIGS if p.stem == "inception_v4_digits")).recipe
    assert (recipe.model.source, recipe.model.name) == ("digits", "inception_v4")
    assert recipe.compile.if_toolkit_missing == "cpu"
    sets = (recipe.data.calibration, recipe.data.selection, recipe.data.evaluation)
    assert {draw.dataset for draw in sets if draw is not None} == {"digits"}
    assert recipe.checks.weights.min_top1 == 0.95


def test_the_thresholds_of_the_demo_can_be_met() -> None:
    from pipeline.check.gate import smallest_provable_drop
    from pipeline.data.digits import open_digits

    recipe = load_recipe(next(p for p in CONFIGS if p.stem == "inception_v4_digits")).recipe
    total = len(open_digits(None).listing())
    taken = [recipe.data.calibration.images]
    if recipe.data.selection is not None:
        taken.append(recipe.data.selection.images)
    images = total - sum(count for count in taken if isinstance(count, int))
    for thresholds in (recipe.checks.quantize, recipe.checks.compile):
        limit = thresholds.max_top1_drop
        assert limit is not None
        assert smallest_provable_drop(images, thresholds.confidence) < limit / 2


BASE = {
    "schema": 1,
    "model": {"source": "digits", "name": "inception_v4"},
    "data": {"calibration": {"dataset": "digits"}, "evaluation": {"dataset": "digits"}},
    "quantize": {"ranges": {"rule": "minmax"}},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("schema",), 2),
        (("schema",), None),
        (("modle",), {}),
        (("model", "source"), "pytorch"),
        (("model", "name"), ""),
        (("model", "sha256"), "abc"),
        (("data", "calibration", "images"), 0),
        (("data", "calibration", "images"), "ten"),
        (("data", "calibration", "sede"), 0),
        (("data", "evaluation", "dataset"), "imagnet"),
        (("quantize", "data_type"), "uint9"),
        (("quantize", "ranges"), {"percentile": 101}),
        (("quantize", "ranges"), "atuo"),
        (("equalize",), {"cros_layer": True}),
        (("compile",), {"delegate": "gpu"}),
        (("checks",), {"quantise": {}}),
        (("checks",), {"quantize": {"confidence": 95}}),
        (("checks",), {"quantize": {"max_top1_drop": -0.1}}),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(
    validator: Any, tmp_path: Path, keys: tuple[str, ...], value: Any
) -> None:
    from pipeline.errors import UsageError

    data = json.loads(json.dumps(BASE))
    assert validator.is_valid(data)
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(data))
    load_recipe(path)
    section = data
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    assert not validator.is_valid(data)
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError):
        load_recipe(path)


def test_the_schema_helps_an_editor(schema: Any) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert {"schema", "model", "data"} <= set(schema["required"])
    undescribed = [
        f"{name}.{field}"
        for name, section in schema["$defs"].items()
        for field, details in section.get("properties", {}).items()
        if "description" not in details and "$ref" not in details
        if name not in ("Checks", "Preprocess")
    ]
    assert set(undescribed) <= {
        "Quantize.ranges", "TrainOptions.seed",
        "TrainOptions.epochs", "TrainOptions.batch", "TrainOptions.learning_rate", "Draw.dataset",
    }  # fmt: skip
