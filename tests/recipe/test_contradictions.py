"""Fields that contradict each other are refused at their line; what does nothing is said."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.recipe import Recipe
from pipeline.recipe.unused import unused
from pipeline.recipe_file import load_recipe

TIMM = "{source: timm, name: m}"
ONNX = "{source: onnx, name: m}"
SHA256 = "a" * 64
DRAW = "{dataset: imagenet, images: 8}"
MORE = {
    "calibration": DRAW, "selection": DRAW, "evaluation": DRAW, "preprocess": "{size: 32}",
}  # fmt: skip


def written(folder: Path, model: str = TIMM, rest: str = "", **data: str) -> Path:
    """`schema`, `model` and `data` take a line each, and the sets of images lines 4 to 7."""
    lines = [f"  {name}: {value}\n" for name, value in (MORE | data).items()]
    path = folder / "r.yaml"
    path.write_text(f"schema: 1\nmodel: {model}\ndata:\n{''.join(lines)}{rest}")
    return path


def load(folder: Path, model: str = TIMM, rest: str = "", **data: str) -> Recipe:
    return load_recipe(written(folder, model, rest, **data)).recipe


def refusal(folder: Path, model: str = TIMM, rest: str = "", **data: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, model, rest, **data)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        ("images: 8, at_least: 9", "at_least: 9 is more than images, 8"),
        ("images: auto, ceiling: 8, at_least: 9", "at_least: 9 is more than ceiling, 8"),
        ("images: auto, at_least: 5001", "at_least: 5001 is more than ceiling, 5000"),
    ],
)
def test_a_set_of_images(tmp_path: Path, draw: str, said: str) -> None:
    text = refusal(tmp_path, evaluation=f"{{dataset: imagenet, {draw}}}")
    assert text.startswith(f"r.yaml:6: data.evaluation.{said}")


@pytest.mark.parametrize(
    "draw",
    [
        "images: auto, ceiling: 9, at_least: 9", "images: auto, ceiling: all, at_least: 6000",
        "images: 8, ceiling: null", "images: auto, manifest: m.txt, seed: 1", "seed: 1",
    ],
)  # fmt: skip
def test_a_set_of_images_that_is_well(tmp_path: Path, draw: str) -> None:
    load(tmp_path, evaluation=f"{{dataset: imagenet, {draw}}}")


@pytest.mark.parametrize(
    ("model", "check", "said"),
    [
        (
            TIMM,
            "weights: {max_logit_error: 1.0}",
            "weights.max_logit_error: there is no stage before",
        ),
        (TIMM, "lower: {min_top1: 0.0}", "lower.min_top1: should be greater than 0"),
        (
            ONNX,
            "export: {max_logit_error: 1.0}",
            "export.max_logit_error: there is no stage before",
        ),
        (ONNX, "weights: {min_top1: 0.5}", "weights: this recipe has no stage of that name"),
    ],
)
def test_a_check(tmp_path: Path, model: str, check: str, said: str) -> None:
    text = refusal(tmp_path, model, f"checks:\n  {check}\n")
    assert text.startswith(f"r.yaml:9: checks.{said}")


def test_a_check_of_a_stage_that_is_left_out(tmp_path: Path) -> None:
    text = refusal(tmp_path, rest="equalize: null\nchecks:\n  equalize: {max_top1_drop: 0.1}\n")
    assert text.startswith("r.yaml:10: checks.equalize: this recipe has no stage of that name")


# What does nothing in this run is said


AUTO = "{dataset: imagenet, images: auto}"


@pytest.mark.parametrize(
    ("rest", "delegate", "said"),
    [
        ("checks: {quantize: {max_top1_drop: 0.01}}", "npu", []),
        ("checks: {lower: {min_top1: 0.5}}", "npu", []),
        ("checks: {export: {max_logit_error: 0.1}}", "npu", ["no check limits a drop or top-1"]),
        ("checks: {lower: {min_top1: 0.001}}", "npu", ["0.001 is no more than guessing among 1000"]),
        ("checks: {lower: {min_top1: 0.002}}", "npu", []),
        ("compile: {handoff: tflite, output_format: x}", "npu", ["no check limits"]),
        ("compile: {output_format: x, if_toolkit_missing: cpu}", "cpu",
         ["no check limits", "compile.output_format: does nothing, because the delegate is cpu"]),
    ],
)  # fmt: skip
def test_what_this_run_does_not_use(
    tmp_path: Path, rest: str, delegate: str, said: list[str]
) -> None:
    lines = unused(load(tmp_path, rest=rest, evaluation=AUTO), delegate, 1000)  # type: ignore[arg-type]
    assert len(lines) == len(said)
    assert all(words in line for words, line in zip(said, lines, strict=True)), lines


def test_a_fixed_number_of_images_needs_no_limit(tmp_path: Path) -> None:
    assert unused(load(tmp_path), "npu", 1000) == []


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        ("images: 8, ceiling: 9", "data.evaluation.ceiling: does nothing with images: 8"),
        ("ceiling: all", "data.evaluation.ceiling: does nothing with images: all"),
        ("manifest: m.txt, seed: 1", "data.evaluation.seed: does nothing with a manifest"),
    ],
)
def test_a_field_of_a_set_that_does_nothing(tmp_path: Path, draw: str, said: str) -> None:
    recipe = load(tmp_path, evaluation=f"{{dataset: imagenet, {draw}}}")
    (line,) = unused(recipe, "npu", 1000)
    assert line.startswith(said)


def test_a_fixed_number_for_one_run(tmp_path: Path) -> None:
    """`--set` of one field leaves the rest of the recipe as it is."""
    path = written(tmp_path, evaluation="{dataset: imagenet, images: auto, ceiling: 9}")
    assert load_recipe(path, ["data.evaluation.images=8"]).recipe.data.evaluation.most == 8


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{source: timm, name: m, revision: a, weights: w}", "model.revision: does nothing"),
        ("{source: checkpoint, name: m, weights: w, revision: a}", "model.revision: does nothing"),
        ("{source: onnx, name: m, num_classes: 9}", "model.num_classes: does nothing"),
        ("{source: timm, name: m, revision: a, num_classes: 9}", None),
        (f"{{source: digits, name: m, sha256: {SHA256}}}", "model.sha256: does nothing"),
        (f"{{source: digits, name: m, sha256: {SHA256}, weights: w}}", None),
        (f"{{source: timm, name: m, sha256: {SHA256}}}", None),
    ],
)
def test_a_field_of_the_model_that_does_nothing(
    tmp_path: Path, model: str, said: str | None
) -> None:
    lines = unused(load(tmp_path, model), "npu", 1000)
    assert [line.startswith(said or "-") for line in lines] == ([True] if said else [])


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("checks: {lower: {accept: predicted}}", "checks.lower.accept: does nothing"),
        ("checks: {compile: {accept: predicted}}", None),
        ("compile: {metafile: m.yaml, output_format: x}", "compile.output_format: does nothing"),
        ("compile: {metafile: m.yaml}", None),
    ],
)
def test_a_field_of_checks_or_compile_that_does_nothing(
    tmp_path: Path, rest: str, said: str | None
) -> None:
    lines = unused(load(tmp_path, rest=rest), "npu", 1000)
    assert [line.startswith(said or "-") for line in lines] == ([True] if said else [])


def test_sets_that_are_drawn_do_not_overlap(tmp_path: Path) -> None:
    (line,) = unused(load(tmp_path, overlap="leave_out"), "npu", 1000)
    assert line.startswith("data.overlap: does nothing without a manifest")
    manifest = "{dataset: imagenet, manifest: m.txt}"
    assert unused(load(tmp_path, overlap="leave_out", calibration=manifest), "npu", 1000) == []


@pytest.mark.parametrize("compile", ["{delegate: cpu}", "{handoff: onnx, if_toolkit_missing: cpu}"])
def test_mixed_types_have_no_bundle_for_the_cpu(tmp_path: Path, compile: str) -> None:
    mixed = "quantize: {layers: {conv1: int16}}\n"
    load(tmp_path, rest=mixed + "compile: {handoff: onnx}")
    assert "only the SyNAP toolkit can build" in refusal(
        tmp_path, rest=f"{mixed}compile: {compile}"
    )
