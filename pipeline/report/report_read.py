"""All of a `report.json` that cards and comparisons show, typed: more than the gate judges."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipeline.errors import StageError
from pipeline.regression.reading import Change, Count, Digest, Fraction, Read, read_json
from pipeline.regression.report_file import (
    REPORT_SCHEMA,
    ArtifactPart,
    CheckPart,
    CompilePart,
    DataPart,
    Report,
    SamplesPart,
    StagePart,
)

REPORT = "report.json"
_HINT = "`pipeline run` writes one to artifacts/<recipe>/<target>/report.json"


class ShownArtifact(ArtifactPart):
    """`path` is relative to the folder of all artifacts where it lies in it."""

    path: str


class ShownCheck(CheckPart):
    """Fractions, as in `check/result.py`."""

    top5: Fraction | None
    step_drop: Change | None
    agreement: Fraction | None
    sqnr_db: float | None
    max_logit_error: float | None
    confidence_interval: tuple[float, float] | None
    required: bool


class ShownStage(StagePart):
    """A stage with what it says of itself. `options` are what its result depends on, where the
    report has them."""

    cached: bool
    artifact: ShownArtifact | None
    check: ShownCheck
    details: dict[str, Any]
    options: dict[str, Any] = Field(default_factory=dict)


class ShownCompile(CompilePart):
    """How the bundle was made."""

    toolkit: str | None
    toolkit_version: str | None
    notice: str


class ShownSamples(SamplesPart):
    """A set of images with the name of its dataset."""

    dataset: str


class ShownData(DataPart):
    """The three sets."""

    calibration: ShownSamples
    selection: ShownSamples | None
    evaluation: ShownSamples


class OriginPart(Read):
    """Where weights came from. `license` is what their source declares, in the hub's words."""

    hub: str | None = None
    commit: str | None = None
    file: str | None = None
    training: dict[str, Any] | None = None
    license: str | None = None


class PublishedPart(Read):
    """What the model's makers measured."""

    dataset: str
    top1: Fraction
    top5: Fraction
    reference: str


class ModelPart(Read):
    """`details` of the stage `weights`."""

    architecture: str = Field(min_length=1)
    parameters: Count
    source: str
    weights_sha256: Digest | None = None
    origin: OriginPart
    published: PublishedPart | None = None


class ShownReport(Report):
    """A run as people see it."""

    stages: tuple[ShownStage, ...] = Field(min_length=1)
    compile: ShownCompile | None
    data: ShownData

    def shown_stage(self, name: str) -> ShownStage | None:
        """The stage of this name."""
        return next((stage for stage in self.stages if stage.name == name), None)


def read_shown(path: Path) -> ShownReport:
    """Read a `report.json`.

    Raises UsageError for a report of another schema and StageError, in one error, for a file that
    is missing, unreadable or no report.
    """
    return read_json(path, ShownReport, "a report of `pipeline run`", REPORT_SCHEMA, _HINT)


def model_of(report: ShownReport, where: str) -> ModelPart | None:
    """What the run says of the float model; None of one that came as ONNX. Raises StageError where
    that is damaged."""
    stage = report.shown_stage("weights")
    if stage is None or stage.artifact is None:
        return None
    try:
        return ModelPart.model_validate(stage.details)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(["stages.weights.details", *map(str, first["loc"])])
        raise StageError(f"{place}: {first['msg']}", where=where, hint=_HINT) from None
