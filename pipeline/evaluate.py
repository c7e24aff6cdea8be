"""The logits of an artifact on a set of images, computed once and kept in the store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, atomic_path
from pipeline.data.device_view import DeviceView
from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.errors import StageError
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.runners import RUNNERS, open_runner
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

OUTPUTS_VERSION = 1
INPUT_VERSION = 1
"""Raised whenever the board's assignment of bytes is imitated in another way."""
LOGITS = "logits.npy"
BATCH = 16


def outputs_of(
    artifact: Artifact,
    samples: "Samples",
    preprocess: Preprocess,
    store: Store,
    threads: int,
    progress: Progress,
    device: DeviceView | None = None,
) -> Entry:
    """Run the artifact on every image, in order; the entry's `logits.npy` is float32 `[N, C]`.

    With `device` the images are cropped and their bytes assigned as the board does it.
    """
    tools = RUNNERS[artifact.format][1]
    fields = {
        "version": OUTPUTS_VERSION,
        "artifact": artifact.sha256,
        "format": artifact.format,
        "samples": samples.digest,
        "preprocess": preprocess.model_dump(mode="json"),
        "tools": {name: version_of(name) for name in tools},
    }
    if device is not None:
        fields |= {"device": device.geometry, "device_input": INPUT_VERSION}

    def build(folder: Path) -> Mapping[str, Any]:
        import numpy as np

        logits = run_on(artifact, samples, preprocess, threads, progress, device)
        with atomic_path(folder / LOGITS) as temporary, temporary.open("wb") as stream:
            np.save(stream, logits)
        return {}

    return store.get("outputs", fields, build)


def run_on(
    artifact: Artifact,
    samples: "Samples",
    preprocess: Preprocess,
    threads: int,
    progress: Progress,
    device: DeviceView | None = None,
) -> "NDArray[np.float32]":
    """Logits `[N, C]` of the artifact on the images. Raises StageError where they cannot be."""
    import numpy as np

    runner = open_runner(artifact.format, artifact.path, preprocess.normalization, threads)
    table = None if device is None else assigned_bytes(artifact, preprocess.normalization)
    parts = []
    with progress.bar(f"running {artifact.path.name} ({artifact.format})", len(samples)) as bar:
        for crops, _ in samples.crops(device or preprocess, BATCH, workers=threads):
            if table is not None:
                crops = np.stack([table[c][crops[..., c]] for c in range(3)], axis=-1)
            parts.append(runner(crops))
            bar.advance(len(crops))
    logits = np.concatenate(parts)
    largest = max(sample.label for sample in samples.items)
    if logits.shape[1] <= largest:
        raise StageError(
            f"gives {logits.shape[1]} classes, but the images have labels up to {largest}",
            where=str(artifact.path),
            hint="model and dataset do not belong together",
        )
    return logits


def assigned_bytes(artifact: Artifact, normalization: Normalization) -> "NDArray[np.uint8] | None":
    """For every channel and byte `[3, 256]` the byte that gives a runner here the integer which the
    board assigns (or the nearest, where none does); None for inputs of real numbers, which the
    board does not cut."""
    import numpy as np

    from pipeline.data.device_input import integer_table

    if artifact.format != "tflite":
        return None
    from pipeline.runners.tflite import image_input, make_interpreter

    input = image_input(make_interpreter(artifact.path, 1), str(artifact.path))
    kind = input["dtype"].__name__
    scale, zero_point = input["quantization"]
    if kind not in ("uint8", "int8") or not scale:
        return None
    means = tuple(255 * mean for mean in normalization.mean)
    board = integer_table(kind, float(scale), int(zero_point), means, 255 * normalization.std[0])
    bytes = np.arange(256, dtype=np.uint8)
    pictures = np.repeat(bytes[:, None, None, None], 3, axis=3)  # [256, 1, 1, 3]
    real = normalization.apply(pictures).reshape(256, 3).T
    ends = np.iinfo(kind)
    ours = np.clip(np.rint(real / scale) + zero_point, ends.min, ends.max)
    distance = np.abs(board.astype(np.int64)[:, :, None] - ours[:, None, :])
    return np.asarray(bytes[distance.argmin(axis=2)])
