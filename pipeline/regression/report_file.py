"""What the gate reads of a `report.json`, typed. `report/json_report.py` writes it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.data.preprocess import Preprocess
from pipeline.regression.reading import (
    Bytes,
    Change,
    Count,
    Digest,
    Fraction,
    Milliseconds,
    Name,
    Read,
    Seconds,
    read_json,
)

REPORT_SCHEMA = 1
REFERENCE = "export"
"""The stage whose artifact is the float model."""
INTEGER_FORMATS = ("qdq-onnx", "tflite", "synap")
"""Formats whose results depend on how a CPU adds up products of bytes."""

Evidence = Literal["measured", "predicted", "board"]


class ArtifactPart(Read):
    """`artifact` of a stage."""

    format: str
    sha256: Digest
    bytes: Bytes


class CheckPart(Read):
    """`check` of a stage; without images nothing was run."""

    images: int = Field(ge=0)
    top1: Fraction | None
    top1_drop: Change | None
    evidence: Evidence
    required: bool
    verdict: str
    reason: str
    latency_ms: Milliseconds | None = None

    @model_validator(mode="after")
    def _accuracy_is_of_images(self) -> Self:
        if self.top1 is not None and self.images == 0:
            raise ValueError("there is an accuracy, but of no images")
        return self


class StagePart(Read):
    """One of `stages`; without an artifact it was skipped, and its check says why."""

    name: Name
    seconds: Seconds
    artifact: ArtifactPart | None
    check: CheckPart


class CompilePart(Read):
    """`compile`."""

    delegate: str
    handoff: str


class SamplesPart(Read):
    """One set of images."""

    images: Count
    sha256: Digest


class DataPart(Read):
    """`data`: the sets of images, and what was done to each image."""

    calibration: SamplesPart
    selection: SamplesPart | None
    evaluation: SamplesPart
    preprocess: Preprocess


class EnvironmentPart(Read):
    """`environment`: where the run took place."""

    machine: str
    cpu_features: tuple[str, ...]
    threads: Count
    versions: dict[str, str | None]


class Report(Read):
    """A run of one target, or of no target where it stopped before `compile`."""

    schema_version: Literal[1] = Field(alias="schema")
    recipe: Name
    target: Name | None
    verdict: str
    failure: Annotated[str, Field(min_length=1)] | None
    stages: tuple[StagePart, ...] = Field(min_length=1)
    compile: CompilePart | None
    data: DataPart
    environment: EnvironmentPart

    @model_validator(mode="after")
    def _stages_have_names_of_their_own(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("a stage stands there twice")
        return self

    def stage(self, name: str) -> StagePart | None:
        """The stage of this name, whether it was carried out or skipped."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def came_quantized(self) -> bool:
        """Whether the chain began with integers, so that no float model was ever there."""
        return self.stages[0].name == "lower"

    @property
    def runs_integers(self) -> bool:
        """Whether any integer model was run on this machine's CPU."""
        return any(
            stage.artifact is not None
            and stage.artifact.format in INTEGER_FORMATS
            and stage.check.images > 0
            and stage.check.evidence != "board"
            for stage in self.stages
        )


def read_report(path: Path) -> Report:
    """Read a `report.json`.

    Raises UsageError for a report of another schema and StageError, in one error, for a file that
    is missing, unreadable or no report.
    """
    hint = "`pipeline run` writes one to artifacts/<recipe>/<target>/report.json"
    return read_json(path, Report, "a report of `pipeline run`", REPORT_SCHEMA, hint)
