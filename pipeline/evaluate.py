"""The logits of an artifact on a set of images, computed once and kept in the store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, atomic_path
from pipeline.data.preprocess import Preprocess
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
LOGITS = "logits.npy"
BATCH = 16


def outputs_of(
    artifact: Artifact,
    samples: "Samples",
    preprocess: Preprocess,
    store: Store,
    threads: int,
    progress: Progress,
) -> Entry:
    """Run the artifact on every image, in order; the entry's `logits.npy` is float32 `[N, C]`."""
    tools = RUNNERS[artifact.format][1]
    fields = {
        "version": OUTPUTS_VERSION,
        "artifact": artifact.sha256,
        "format": artifact.format,
        "samples": samples.digest,
        "preprocess": preprocess.model_dump(mode="json"),
        "tools": {name: version_of(name) for name in tools},
    }

    def build(folder: Path) -> Mapping[str, Any]:
        import numpy as np

        logits = run_on(artifact, samples, preprocess, threads, progress)
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
) -> "NDArray[np.float32]":
    """Logits `[N, C]` of the artifact on the images. Raises StageError where they cannot be."""
    import numpy as np

    runner = open_runner(artifact.format, artifact.path, preprocess.normalization, threads)
    parts = []
    with progress.bar(f"running {artifact.path.name} ({artifact.format})", len(samples)) as bar:
        for crops, _ in samples.crops(preprocess, BATCH, workers=threads):
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
