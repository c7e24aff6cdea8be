"""Run an artifact on images in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from pipeline.data.device_view import DeviceView
from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.errors import StageError
from pipeline.runners import Runner, open_runner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

BATCH = 16
"""Images that a runner gets at a time."""
Advance = Callable[[int], None]
"""Told how many more images are done."""


@dataclass(frozen=True)
class Subject:
    """An artifact, and how images are prepared for it: as the model declares, or as a board does."""

    artifact: Artifact
    preprocess: Preprocess
    device: DeviceView | None = None

    @property
    def view(self) -> Preprocess | DeviceView:
        """What turns pictures into crops."""
        return self.device or self.preprocess

    def open(self, threads: int) -> Runner:
        """The artifact's runner, behind the board's assignment of bytes where there is one."""
        artifact, normalization = self.artifact, self.preprocess.normalization
        runner = open_runner(artifact.format, artifact.path, normalization, threads)
        table = None if self.device is None else assigned_bytes(artifact, normalization)
        return runner if table is None else _Assigned(runner, table)


def logits_of(
    runner: Runner, subject: Subject, samples: "Samples", threads: int, advance: Advance
) -> "NDArray[np.float32]":
    """Logits `[N, C]` of an open subject, in order; images are decoded while others are run.

    Raises StageError, after the first batch, for a model of fewer classes than the images have.
    """
    import numpy as np

    largest = max(sample.label for sample in samples.items)
    parts = []
    for crops, _ in samples.crops(subject.view, BATCH, workers=threads):
        logits = runner(crops)
        if logits.shape[1] <= largest:
            raise StageError(
                f"gives {logits.shape[1]} classes, but the images have labels up to {largest}",
                where=str(subject.artifact.path),
                hint="model and dataset do not belong together",
            )
        parts.append(logits)
        advance(len(crops))
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Assigned:
    """A runner that is given the bytes in `table`, `[3, 256]`, for the crops' own."""

    runner: Runner
    table: "NDArray[np.uint8]"

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np

        return self.runner(np.stack([self.table[c][crops[..., c]] for c in range(3)], axis=-1))


def assigned_bytes(artifact: Artifact, given: Normalization) -> "NDArray[np.uint8] | None":
    """For every channel and byte `[3, 256]` the byte that gives a runner here the integer which the
    board assigns (or the nearest, where none does); None for inputs of real numbers, which the
    board does not cut.

    A file of ours has a normalization of its own, by which it is run here and which its metafile
    gives the board; `given` is for the files of others."""
    import numpy as np

    from pipeline.data.device_input import integer_table

    if artifact.format != "tflite":
        return None
    from pipeline.runners.litert import image_input, make_interpreter
    from pipeline.runners.tflite_declared import own_preprocess

    input = image_input(make_interpreter(artifact.path, 1), str(artifact.path))
    kind = input["dtype"].__name__
    scale, zero_point = input["quantization"]
    if kind not in ("uint8", "int8") or not scale:
        return None
    own = own_preprocess(artifact.path)
    normalization = given if own is None else own.normalization
    means = tuple(255 * mean for mean in normalization.mean)
    board = integer_table(kind, float(scale), int(zero_point), means, 255 * normalization.std[0])
    bytes = np.arange(256, dtype=np.uint8)
    pictures = np.repeat(bytes[:, None, None, None], 3, axis=3)  # [256, 1, 1, 3]
    real = normalization.apply(pictures).reshape(256, 3).T
    ends = np.iinfo(kind)
    ours = np.clip(np.rint(real / scale) + zero_point, ends.min, ends.max)
    distance = np.abs(board.astype(np.int64)[:, :, None] - ours[:, None, :])
    return np.asarray(bytes[distance.argmin(axis=2)])
