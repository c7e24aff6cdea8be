"""What a stage is: what it takes and gives, what its result depends on, and how it is made.

A stage only writes into the folder it is given. Hashing, timing, recording, checking and moving
into place are the engine's, so no stage can misreport itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.artifact import Format
from pipeline.data.preprocess import Preprocess
from pipeline.errors import Missing
from pipeline.progress import Progress
from pipeline.recipe_file import RecipeFile
from pipeline.store import Store
from pipeline.synap.handover import Handover
from pipeline.targets import Target

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets

SetName = Literal["calibration", "selection", "evaluation"]


@dataclass(frozen=True)
class Settings:
    """What the options of a stage are read from. `preprocess` is known once the weights are,
    `class_names` where the images bring names of their own; `target` and `handover` only concern
    the stages that run per target."""

    recipe: RecipeFile
    weights: Path | None
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] | None = None
    target: Target | None = None
    handover: Handover | None = None

    @property
    def model_input(self) -> Preprocess:
        """The preprocessing, in stages behind `weights`, where it is always known."""
        assert self.preprocess is not None
        return self.preprocess

    @property
    def label_options(self) -> dict[str, Any]:
        """What the names of the classes depend on, as options of the stages that write them down."""
        own = {} if self.class_names is None else {"class_names": list(self.class_names)}
        return {"labels": self.recipe.recipe.data.evaluation.dataset, **own}

    def labels(self, outputs: int) -> tuple[str, ...] | None:
        """Names of a model's outputs in order, where they are known."""
        from pipeline.data.class_names import class_names

        return class_names(self.recipe.recipe.data.evaluation.dataset, outputs, self.class_names)


@dataclass(frozen=True)
class Work:
    """Everything a stage is given to make its result in `folder`."""

    folder: Path
    taken: Mapping[str, Path]
    settings: Settings
    samples: "SampleSets"
    store: Store
    threads: int
    progress: Progress


@dataclass(frozen=True)
class Stage:
    """One step of the chain, as plain data and two functions."""

    name: str
    version: int
    """Raised whenever the same inputs would give another result."""
    takes: tuple[str, ...]
    """Names of the results of earlier stages."""
    gives: Mapping[str, str]
    """Names of its own results, and their file names in the folder."""
    artifact: str
    """The result that is run on images by the check."""
    format: Format
    options: Callable[[Settings], Mapping[str, Any]]
    """What of the recipe the result depends on, defaults included, as JSON data."""
    make: Callable[[Work], Mapping[str, Any]]
    """Make the results; what it returns is recorded as details, as JSON data. `faults` in it are
    what is wrong with the result, in words; with any the check fails. `stand_in` in them is what
    predicts an artifact that cannot be run here: `file` and `format` of something else that was made
    with it, or the `reason` that there is nothing, for which the check is SKIPPED."""
    samples: tuple[SetName, ...] = ()
    """The sets of images it reads."""
    tools: tuple[str, ...] = field(default=())
    """Installed packages whose version shapes the result."""
    missing: Callable[[Settings], list[Missing]] = lambda settings: []
    """What making it would lack, found within seconds."""
    skip: Callable[[Settings], str | None] = lambda settings: None
    """Why these settings leave it without a result, so that it is SKIPPED; None where they do not.
    A stage that takes what it gives then has to be skipped as well."""
    per_target: bool = False
    """Whether it runs once for every target, rather than once for all."""
    against: Callable[[Settings], str | None] = lambda settings: None
    """The stage whose logits its own are compared with; None for the one before it."""
    stand_in: Callable[[Settings], str | None] = lambda settings: None
    """The stage whose logits stand in, as `predicted`, for an artifact that cannot be run here;
    None where the artifact itself is run."""
