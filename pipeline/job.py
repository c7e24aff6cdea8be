"""One call of the chain: what to do, on what, from the words of the command line."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.board.outputs import board_of
from pipeline.deviation import require_one_deviation
from pipeline.errors import UsageError
from pipeline.evaluation.shards import HERE, Engine
from pipeline.process import cores
from pipeline.recipe_file import RecipeFile, load_recipe
from pipeline.stages import chain_of, stages_until
from pipeline.stages.stage import Stage
from pipeline.targets import Target, load_target, target_names


@dataclass(frozen=True)
class Job:
    """What one call of `run` or `plan` is about."""

    recipe: RecipeFile
    targets: tuple[Target, ...]
    stages: tuple[Stage, ...]
    weights: Path | None
    data: Path | None
    artifacts: Path
    threads: int
    engine: Engine = HERE

    @property
    def store_root(self) -> Path:
        return self.artifacts / ".store"


def make_job(
    config: Path,
    target: str,
    until: str | None,
    overrides: Sequence[str],
    weights: Path | None,
    data: Path | None,
    artifacts: Path,
    threads: int,
    engine: Engine = HERE,
) -> Job:
    """Read the recipe and everything else that the command line names. Raises UsageError."""
    names = target_names() if target.lower() == "all" else (target,)
    targets = tuple(load_target(name) for name in names)
    file = load_recipe(config, overrides)
    chain = chain_of(file.recipe)
    _require_stage(until, chain)
    _read_metafile(file)
    if file.recipe.device is not None:
        load_target(file.recipe.device.target)
        board_of(file.recipe.device, file.folder)
    stages = stages_until(until, chain)
    if file.recipe.data.preprocess is not None:
        require_one_deviation(file.recipe, stages, file.recipe.data.preprocess)
    return Job(
        recipe=file,
        targets=targets,
        stages=stages,
        weights=resolve(weights, file.recipe.model.weights, file.folder),
        data=resolve(data, file.recipe.data.folder, file.folder),
        artifacts=artifacts.resolve(),
        threads=threads or cores(),
        engine=engine,
    )


def _read_metafile(file: RecipeFile) -> None:
    """Hold a metafile of the user's against the rules before any work."""
    from pipeline.synap.metafile_read import load_metafile

    options = file.recipe.compile
    if options.metafile is not None and options.delegate == "npu":
        load_metafile(file.folder / options.metafile, options.handoff)


def resolve(given: Path | None, recipe_value: str | None, folder: Path) -> Path | None:
    """A path by option, which is relative to here, or else by recipe, relative to the recipe."""
    if given is not None:
        return given
    return None if recipe_value is None else folder / recipe_value


def _require_stage(name: str | None, chain: Sequence[Stage]) -> None:
    known = [stage.name for stage in chain]
    if name is None or name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"stages: {', '.join(known)}"
    raise UsageError(f"unknown stage {name!r}", where="--until", hint=hint)
