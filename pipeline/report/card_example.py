"""The example output of a card: what the model really says of the picture beside it.

Run here, on the CPU, and said to be so. An NPU build cannot be run here: the model that it was
compiled from is, where the store still has it. Shown as `synap_cli_ic` prints it on a terminal
(SyNAP's runtime 3.2.0, `app/synap_cli_ic/main.cpp`): class in 5 places, confidence in 12 with 4
decimals, name; the confidence is the model's output as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Format, digest_of_path
from pipeline.errors import StageError
from pipeline.inspect.printable import printable
from pipeline.process import cpu_features, version_of
from pipeline.regression.baseline import MachineMark
from pipeline.regression.likeness import cpu_kind
from pipeline.report.report_read import ShownReport
from pipeline.stages.compile import BUNDLE
from pipeline.synap.companions import PICTURE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.store import Store

EXAMPLE_VERSION = 1
TOP = 5
"""How many classes the program shows unless it is told otherwise."""
DECIMALS = 4
_STAND_INS = {"tflite": "lower", "onnx": "quantize"}
"""By form of hand-over: the stage whose model predicts an NPU build."""
_RUNTIMES = {"synap": "onnxruntime", "qdq-onnx": "onnxruntime", "tflite": "ai-edge-litert"}
_NOT_AT_HAND = (
    "an NPU build cannot be run here, and the model that it was compiled from is not at hand"
)


@dataclass(frozen=True)
class Example:
    """Classes and their confidences, the largest first, and what gave them where."""

    top: tuple[tuple[int, float], ...]
    format: str
    """Of the model that was run."""
    model_sha256: str
    picture_sha256: str
    runtime: str
    """Package and version."""
    cpu: str
    """The kind of CPU, as far as integer results depend on it."""


@dataclass(frozen=True)
class NoExample:
    """Why there is none."""

    reason: str


@dataclass(frozen=True)
class _Source:
    """What can be run here, with its digest."""

    path: Path
    format: Format
    sha256: str


def example_of(
    folder: Path, report: ShownReport, threads: int, store: "Store | None" = None
) -> Example | NoExample:
    """The example of a results folder; kept in `store`, where one is given, so that a run which
    computes nothing need not compute this either.

    Raises StageError where the bundle or the picture is missing or cannot be used.
    """
    source = _source(folder, report)
    if source is None:
        return NoExample(_NOT_AT_HAND)
    picture = folder / PICTURE
    if not picture.is_file():
        raise StageError("there is no such file", where=str(picture))
    about = Example(
        (), source.format, source.sha256, digest_of_path(picture), _runtime(source.format), _cpu()
    )
    fields = {"version": EXAMPLE_VERSION, **{k: v for k, v in vars(about).items() if k != "top"}}

    def build(scratch: Path) -> Mapping[str, Any]:
        return {"top": _top(_run(source, picture, report, threads))}

    made = build(folder) if store is None else store.get("examples", fields, build).about
    if made["top"] is None:
        return NoExample("the model's outputs for the picture are no finite numbers")
    top = tuple((int(index), float(value)) for index, value in made["top"])
    return Example(top, *list(vars(about).values())[1:])


def table(top: Sequence[tuple[int, float]], labels: Sequence[str]) -> list[str]:
    """The lines that the program prints; a class without a name has an empty description."""
    lines = ["Class  Confidence  Description"]
    for index, confidence in top:
        name = printable(labels[index]) if index < len(labels) else ""
        lines.append(f"{index:5d}{confidence:12.{DECIMALS}f}  {name}".rstrip())
    return lines


def _source(folder: Path, report: ShownReport) -> _Source | None:
    assert report.compile is not None
    if report.compile.delegate == "cpu":
        path = folder / BUNDLE
        if not path.is_file():
            raise StageError("there is no such file", where=str(path))
        return _Source(path, "synap", digest_of_path(path))
    stage = report.shown_stage(_STAND_INS.get(report.compile.handoff, ""))
    if stage is None or stage.artifact is None or stage.artifact.format not in _RUNTIMES:
        return None
    # Paths in a report are relative to the folder of all artifacts, two above a target's.
    path = folder.resolve().parent.parent / stage.artifact.path
    found = path.is_file() and path.stat().st_size == stage.artifact.bytes
    if not found or digest_of_path(path) != stage.artifact.sha256:
        return None
    format: Format = "tflite" if stage.artifact.format == "tflite" else "qdq-onnx"
    return _Source(path, format, stage.artifact.sha256)


def _run(
    source: _Source, picture: Path, report: ShownReport, threads: int
) -> "NDArray[np.float32]":
    """Outputs `[classes]` for the picture, which has the model's own size."""
    import numpy as np

    from pipeline.data.dataset import BrokenImage
    from pipeline.data.decode import decode_image
    from pipeline.runners import open_runner

    try:
        image = decode_image(picture.read_bytes(), str(picture))
    except BrokenImage as error:
        # Its hint is about images of a dataset, which this is not.
        hint = "run the recipe again, which puts it back"
        raise StageError(error.reason, where=str(picture), hint=hint) from None
    except OSError as error:
        raise StageError(f"cannot be read: {error}", where=str(picture)) from None
    crop = np.asarray(image.convert("RGB"), np.uint8)
    size = report.data.preprocess.size
    if crop.shape != (size, size, 3):
        raise StageError(
            f"is {crop.shape[1]}x{crop.shape[0]} pixels, and the model takes {size}x{size}",
            where=str(picture),
        )
    runner = open_runner(source.format, source.path, report.data.preprocess.normalization, threads)
    outputs: NDArray[np.float32] = runner(crop[None])[0]
    return outputs


def _top(outputs: "NDArray[np.float32]") -> list[list[float]] | None:
    import numpy as np

    if not np.isfinite(outputs).all():
        return None
    order = np.argsort(-outputs, kind="stable")[:TOP]
    return [[int(index), round(float(outputs[index]), DECIMALS)] for index in order]


def _runtime(format: str) -> str:
    package = _RUNTIMES[format]
    return f"{package} {version_of(package)}"


def _cpu() -> str:
    import platform

    features = tuple(cpu_features())
    return cpu_kind(
        MachineMark(machine=platform.machine(), cpu_features=features, threads=1, versions={})
    )
