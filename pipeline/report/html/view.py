"""What the page shows, as values: everything is there, or says in one sentence why it is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.check.result import Check


@dataclass(frozen=True)
class Absent:
    """In the place of a section's data: why there is none, as a sentence. `left_out` where that is
    no news of this run, so that the page has no such section."""

    reason: str
    left_out: bool = False


class _Stored(BaseModel):
    """A part of the analysis, which is kept in the store as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LayerRow(_Stored):
    """A layer's noise; see `quant/layer_noise.py`. dB, less is worse."""

    layer: str
    operator: str
    tensor: str
    alone_db: float | None
    cumulative_db: float | None


class TensorHistogram(_Stored):
    """What calibration saw of a tensor, and the range that its integers cover."""

    tensor: str
    layer: str
    edges: tuple[float, ...]
    counts: tuple[float, ...]
    """Values per bin, exact zeros left out: integers make no error there."""
    zeros: float
    """Part of the values that is exactly zero."""
    minimum: float
    maximum: float
    low: float
    high: float
    """Ends of what the integers can say."""
    scale: float
    clipped: float
    """Part of the values beyond the range."""
    sqnr_db: float | None
    """By this tensor's own rounding and clipping, in closed form (`quant/noise.py`)."""
    source: str
    """Where the range came from."""


class Branch(_Stored):
    """One input of a concatenation, and how many steps of the result's scale it spans."""

    tensor: str
    low: float
    high: float
    steps: float


class ConcatView(_Stored):
    name: str
    scale: float
    levels: int
    """Steps that the result's integers have in all."""
    branches: tuple[Branch, ...]


class Analysis(_Stored):
    """What is computed for the page alone, and kept."""

    images: int
    image_set: str
    layers: tuple[LayerRow, ...]
    tensors: int
    """How many had a histogram to judge."""
    histograms: tuple[TensorHistogram, ...]
    """Of the worst tensors, worst first."""
    concats: tuple[ConcatView, ...]

    @property
    def worst_alone(self) -> list[LayerRow]:
        """All layers that make noise, the one that makes most of it first."""
        rows = [row for row in self.layers if row.alone_db is not None]
        return sorted(rows, key=lambda row: row.alone_db or 0.0)

    @property
    def narrow(self) -> list[tuple[ConcatView, Branch]]:
        """Branches with less than a sixteenth of their concatenation's steps, narrowest first."""
        found = [
            (concat, branch)
            for concat in self.concats
            for branch in concat.branches
            if 16 * branch.steps < concat.levels
        ]
        return sorted(found, key=lambda item: item[1].steps)


@dataclass(frozen=True)
class StageView:
    """A stage of the run."""

    name: str
    format: str | None
    path: str | None
    sha256: str | None
    bytes: int | None
    seconds: float
    peak_rss_mb: float
    check: Check
    limit: float | None
    """The recipe's `max_top1_drop`, a fraction."""
    confidence: float
    """Of each end of the interval."""


@dataclass(frozen=True)
class Tried:
    """A candidate of `ranges: auto`, by its SQNR in dB on so many selection images."""

    graph: str
    rule: str
    correction: str
    sqnr_db: float | None
    images: int
    won: bool


@dataclass(frozen=True)
class Rules:
    """What `ranges: auto` tried, in order."""

    tried: tuple[Tried, ...]

    @property
    def winner(self) -> Tried | None:
        return next((item for item in self.tried if item.won), None)

    @property
    def most_images(self) -> int:
        return max(item.images for item in self.tried)


@dataclass(frozen=True)
class Ranked:
    """A class and its probability; None where the logits are no finite numbers."""

    name: str
    probability: float | None
    right: bool


@dataclass(frozen=True)
class Flip:
    """An image whose predicted class changed. `kind` is `lost`, `gained` or `changed`."""

    kind: str
    id: str
    label: str
    picture: str
    """A data URI."""
    before: tuple[Ranked, ...]
    after: tuple[Ranked, ...]


@dataclass(frozen=True)
class Flips:
    """Images on which the last stage that was run predicts another class than the float model."""

    stage: str
    images: int
    counts: Mapping[str, int]
    shown: tuple[Flip, ...]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Sight:
    """One picture as the model was measured with it, and as the board would prepare it."""

    id: str
    label: str
    model: str
    device: str
    """Data URIs."""


@dataclass(frozen=True)
class DeviceMeasure:
    """Top-1 in both views on the same images, as fractions."""

    images: int
    model_top1: float
    device_top1: float
    gap: float
    interval: tuple[float, float]
    confidence: float


@dataclass(frozen=True)
class RunView:
    """All of a run's page."""

    report: Mapping[str, Any]
    """report.json: the data, the environment and the hand-over are shown as they stand there."""
    stages: tuple[StageView, ...]
    reference: StageView | None
    """The float reference of every drop."""
    final: StageView | None
    """The last stage with a result whose accuracy is known."""
    analysis: Analysis | Absent
    rules: Rules | Absent
    flips: Flips | Absent
    sights: tuple[Sight, ...] | Absent
    device: DeviceMeasure | Absent
    labels: Mapping[str, str]
    """What stages are called for people, by name."""
    remark: str = ""
    """What explains of the whole run why there is less to see than in others."""
