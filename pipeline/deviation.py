"""SyNAP knows one deviation for all channels of the input; where a recipe has more, something has to
fold them into the model."""

from collections.abc import Sequence

from pipeline.data.preprocess import Preprocess
from pipeline.errors import UsageError
from pipeline.recipe import Recipe
from pipeline.stages.stage import Stage


def require_one_deviation(recipe: Recipe, stages: Sequence[Stage], preprocess: Preprocess) -> None:
    """Refuse, before the long work, what SyNAP could not be given in the end."""
    folds = recipe.equalize is not None and not recipe.model.comes_quantized
    for_synap = any(stage.per_target for stage in stages)
    if for_synap and not folds and len(set(preprocess.std)) > 1:
        raise UsageError(
            f"SyNAP knows one deviation for all channels of the input, but std is {list(preprocess.std)}",
            where=f"model.source: {recipe.model.source}"
            if recipe.model.comes_quantized
            else "equalize: null",
            hint="the stage `equalize` folds them into the first layer of a float model",
        )
