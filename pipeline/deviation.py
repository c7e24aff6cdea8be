"""SyNAP knows one deviation for all channels of the input; where a recipe has more, something has to
fold them into the model."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.data.preprocess import Preprocess
from pipeline.errors import UsageError
from pipeline.recipe import Recipe
from pipeline.stages.stage import Stage


def require_one_deviation(recipe: Recipe, stages: Sequence[Stage], preprocess: Preprocess) -> None:
    """Refuse, before the long work, what SyNAP could not be given in the end."""
    if _is_one_needed(recipe, stages) and len(set(preprocess.std)) > 1:
        raise UsageError(
            f"SyNAP knows one deviation for all channels of the input, but std is {list(preprocess.std)}",
            where=f"model.source: {recipe.model.source}"
            if recipe.model.comes_quantized
            else "equalize: null",
            hint="the stage `equalize` folds them into the first layer of a float model",
        )


def require_one_deviation_in(recipe: Recipe, stages: Sequence[Stage], graph: Path) -> None:
    """The same of a Graph: a model that normalizes its input itself may bring other deviations than the
    recipe has."""
    from pipeline.graph.file import load_graph, preprocess_in

    if _is_one_needed(recipe, stages):
        require_one_deviation(recipe, stages, preprocess_in(load_graph(graph), str(graph)))


def _is_one_needed(recipe: Recipe, stages: Sequence[Stage]) -> bool:
    """Whether SyNAP is given a model in which nothing folds several."""
    folds = recipe.equalize is not None and not recipe.model.comes_quantized
    return any(stage.per_target for stage in stages) and not folds
