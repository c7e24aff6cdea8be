"""All of a `report.json` that cards and comparisons show, typed: more than the gate judges."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

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
_Part = TypeVar("_Part", bound=Read)
_HINT = "`pipeline run` writes one to artifacts/<recipe>/<target>/report.json"


class ShownArtifact(ArtifactPart):
    """`path` is relative to the folder of all artifacts where it lies in it."""

    path: str


class ShownCheck(CheckPart):
    """Fractions, as in `check/result.py`; what an older report lacks was not measured."""

    top5: Fraction | None = None
    step_drop: Change | None = None
    agreement: Fraction | None = None
    sqnr_db: float | None = None
    max_logit_error: float | None = None
    confidence_interval: tuple[float, float] | None = None
    flip_rate: Fraction | None = None
    required: bool


class ShownStage(StagePart):
    """A stage with what it says of itself. `options` are what its result depends on, where the
    report has them."""

    artifact: ShownArtifact | None
    check: ShownCheck
    details: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


class ShownCompile(CompilePart):
    """How the bundle was made."""

    toolkit: str | None
    toolkit_version: str | None = None


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


class DeviceViewPart(Read):
    """`device_view` of the stage `compile`: top-1 with pictures as the board's own program prepares
    them, and as the model wants them, on the same images."""

    images: Count
    top1: Fraction
    model_top1: Fraction
    gap: Change
    confidence_interval: tuple[float, float]
    confidence: Fraction


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

    @property
    def given_integers(self) -> Literal["TFLite", "ONNX"] | None:
        """The form of a model that came quantized, so that nothing was calibrated; None of one
        that was quantized in this run, or that the run ended before."""
        if self.came_quantized:
            return "TFLite"
        quantized = self.shown_stage("quantize")
        if quantized is None or quantized.artifact is None:
            return None
        return None if "calibration_images" in quantized.details else "ONNX"


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
    return _part(ModelPart, stage.details, "stages.weights.details", where)


def device_view_of(report: ShownReport, where: str) -> DeviceViewPart | None:
    """What the board's way of preparing pictures costs; None where that was not measured. Raises
    StageError where it is damaged."""
    stage = report.shown_stage("compile")
    found = None if stage is None else stage.details.get("device_view")
    if found is None:
        return None
    return _part(DeviceViewPart, found, "stages.compile.details.device_view", where)


def _part(model: type[_Part], data: Any, place: str, where: str) -> _Part:
    try:
        # As JSON, where a list is how a tuple is written.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([place, *map(str, first["loc"])])
        raise StageError(f"{place}: {first['msg']}", where=where, hint=_HINT) from None
