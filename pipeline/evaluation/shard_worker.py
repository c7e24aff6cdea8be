"""What a worker does with a shard: make sure that it has what is meant, and run it.

Artifact and images are read under the paths they have where the work comes from, so the machines
of a cluster need them in a shared folder.
"""

from socket import gethostname
from threading import Lock
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.artifact import Artifact, Format
from pipeline.errors import PipelineError, StageError
from pipeline.evaluation.model_content import digest_of_model
from pipeline.evaluation.run_artifact import Subject, logits_of
from pipeline.process import version_of
from pipeline.runners import RUNNERS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

_OPENING = Lock()
"""A worker of a cluster may have several threads, and opening a TFLite file turns the process's
stderr aside for a moment."""


class Failed(Exception):
    """A PipelineError on its way from a worker: pickle makes exceptions anew from one argument
    each, and those have others."""

    def __init__(self, kind: type[PipelineError], args: tuple[Any, ...], fields: dict[str, Any]):
        super().__init__(kind, args, fields)
        self.kind, self.given, self.fields = kind, args, fields

    def error(self) -> PipelineError:
        """The error as it was raised."""
        error = self.kind.__new__(self.kind, *self.given)
        error.args = self.given
        error.__dict__.update(self.fields)
        return error


def run_shard(
    subject: Subject, samples: "Samples", threads: int, tools: dict[str, str | None]
) -> "NDArray[np.float32]":
    """Logits `[N, C]` of a part of the images; `tools` are `tools_of` where the work comes from.

    Raises Failed for every PipelineError.
    """
    try:
        _require_tools(subject.artifact.format, tools)
        _require_content(subject.artifact)
        with _OPENING:
            runner = subject.open(threads)
        return logits_of(runner, subject, samples, threads, lambda amount: None)
    except PipelineError as error:
        raise Failed(type(error), error.args, error.__dict__) from None


def tools_of(format: Format) -> dict[str, str | None]:
    """Versions of what shapes crops and logits."""
    names = ("numpy", "pillow", *RUNNERS[format][1])
    return {"synap-pipeline": __version__, **{name: version_of(name) for name in names}}


def _require_tools(format: Format, wanted: dict[str, str | None]) -> None:
    own = tools_of(format)
    unlike = [
        f"{name} {own[name]} instead of {wanted[name]}" for name in own if own[name] != wanted[name]
    ]
    if unlike:
        raise StageError(
            f"has {', '.join(unlike)}",
            where=f"the worker on {gethostname()}",
            hint="install the same versions there (constraints.txt)",
        )


def _require_content(artifact: Artifact) -> None:
    reason = None
    try:
        if not artifact.path.exists():
            reason = "is not there"
        elif digest_of_model(artifact.path, artifact.format) != artifact.sha256:
            reason = "has another content"
    except StageError as error:
        reason = f"has another content ({error.what})"
    if reason is not None:
        raise StageError(
            f"{reason} for the worker on {gethostname()}",
            where=str(artifact.path),
            hint="put artifacts and images in a folder that every worker has under the same path",
        )
