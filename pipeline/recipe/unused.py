"""What a recipe says that does nothing in this run, to be said beforehand.

It is no fault: `--set` may change for one run what another field belongs to, and nobody should have to
edit the rest for that. What contradicts itself is refused when the recipe is read.
"""

from collections.abc import Iterator
from typing import Literal

from pipeline.recipe.checks import Checks
from pipeline.recipe.data import Data
from pipeline.recipe.model import Model
from pipeline.recipe.recipe import Recipe

_OF_THE_NPU = ("handoff", "preprocess", "dequantize_outputs", "output_format", "metafile", "image")
_GENERATED = ("preprocess", "dequantize_outputs", "output_format")
"""What a metafile of the user's own says itself."""


def unused(recipe: Recipe, delegate: Literal["npu", "cpu"], class_count: int) -> list[str]:
    """Lines about fields that are written and do nothing. `delegate` is the one that is taken in the
    end, `class_count` how many classes the evaluation images have."""
    return [
        *_of_model(recipe.model),
        *_of_data(recipe.data),
        *_of_checks(recipe.checks, class_count),
        *_of_early_stopping(recipe),
        *_of_compile(recipe, delegate),
    ]


def _of_model(model: Model) -> Iterator[str]:
    if model.revision is not None and (model.source != "timm" or model.weights is not None):
        yield "model.revision: does nothing, because the weights do not come from the hub"
    if model.num_classes is not None and model.is_file:
        yield "model.num_classes: does nothing, because a model file has the outputs that it has"
    if model.sha256 is not None and model.source == "digits" and model.weights is None:
        yield (
            "model.sha256: does nothing where the model is trained here; it is compared with a weights "
            "file, which the recipe does not give (--weights FILE does)"
        )


def _of_data(data: Data) -> Iterator[str]:
    draws = {"calibration": data.calibration, "evaluation": data.evaluation}
    if data.selection is not None:
        draws["selection"] = data.selection
    for name, draw in draws.items():
        if draw.ceiling is not None and draw.images != "auto":
            yield f"data.{name}.ceiling: does nothing with images: {draw.images}"
        if draw.manifest and draw.images != "auto" and "seed" in draw.model_fields_set:
            yield f"data.{name}.seed: does nothing with a manifest, which is taken in its own order"
    if data.overlap == "leave_out" and not any(draw.manifest for draw in draws.values()):
        yield "data.overlap: does nothing without a manifest; sets that are drawn never overlap"


def _of_checks(checks: Checks, class_count: int) -> Iterator[str]:
    for name in type(checks).model_fields:
        check = getattr(checks, name)
        if check.min_top1 is not None and check.min_top1 * class_count <= 1:
            yield (
                f"checks.{name}.min_top1: {check.min_top1:g} is no more than guessing among "
                f"{class_count} classes; it is a fraction"
            )
        if name != "compile" and check.accept == "predicted":
            yield f"checks.{name}.accept: does nothing, because what {name} makes is run itself"


def _of_early_stopping(recipe: Recipe) -> Iterator[str]:
    checks = [getattr(recipe.checks, name) for name in type(recipe.checks).model_fields]
    limited = any((c.max_top1_drop, c.min_top1) != (None, None) for c in checks)
    if recipe.data.evaluation.images == "auto" and not limited:
        yield (
            "data.evaluation.images: auto stops after its first images, because no check limits a drop "
            "or top-1"
        )


def _of_compile(recipe: Recipe, delegate: Literal["npu", "cpu"]) -> Iterator[str]:
    written = recipe.compile.model_fields_set
    if delegate == "cpu":
        for name in _OF_THE_NPU:
            if name in written:
                yield f"compile.{name}: does nothing, because the delegate is cpu"
    elif recipe.compile.metafile is not None:
        for name in _GENERATED:
            if name in written:
                yield f"compile.{name}: does nothing beside compile.metafile; write it there"
