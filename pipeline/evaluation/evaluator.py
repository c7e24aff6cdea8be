"""The logits of an artifact on a set of images, computed once and kept in the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, atomic_path
from pipeline.data.device_view import DeviceView
from pipeline.data.preprocess import Preprocess
from pipeline.evaluation.run_artifact import Subject, logits_of
from pipeline.evaluation.shards import HERE, Engine, logits_in_shards
from pipeline.process import version_of
from pipeline.progress import Progress
from pipeline.runners import RUNNERS
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

OUTPUTS_VERSION = 1
INPUT_VERSION = 2
"""Raised whenever the board's assignment of bytes is imitated in another way."""
LOGITS = "logits.npy"


@dataclass(frozen=True)
class Evaluator:
    """Runs artifacts on images and keeps their logits."""

    store: Store
    threads: int
    progress: Progress
    engine: Engine = HERE

    def outputs(
        self,
        artifact: Artifact,
        samples: "Samples",
        preprocess: Preprocess,
        device: DeviceView | None = None,
    ) -> Entry:
        """Run the artifact on every image, in order; the entry's `logits.npy` is float32 `[N, C]`.

        With `device` the images are cropped and their bytes assigned as the board does it. Neither
        threads nor engine are in the key: they change nothing that matters (see `shards.py`).
        """
        tools = RUNNERS[artifact.format][1]
        fields = {
            "version": OUTPUTS_VERSION,
            "artifact": artifact.sha256,
            "format": artifact.format,
            "samples": samples.digest,
            "preprocess": preprocess.model_dump(mode="json"),
            # Pillow decodes and resizes: another version may give other pixels.
            "tools": {name: version_of(name) for name in (*tools, "pillow")},
        }
        if device is not None:
            fields |= {"device": device.geometry, "device_input": INPUT_VERSION}

        def build(folder: Path) -> Mapping[str, Any]:
            import numpy as np

            logits = run_on(
                artifact, samples, preprocess, self.threads, self.progress, device, self.engine
            )
            with atomic_path(folder / LOGITS) as temporary, temporary.open("wb") as stream:
                np.save(stream, logits)
            return {}

        return self.store.get("outputs", fields, build)


def right_answers(entries: Sequence[Entry], labels: "NDArray[np.int64]") -> "NDArray[np.bool_]":
    """Per image of the stored logits, whether the largest is the label's."""
    import numpy as np

    from pipeline.check.metrics import in_top

    logits = [np.load(entry.path(LOGITS), allow_pickle=False) for entry in entries]
    return in_top(np.concatenate(logits), labels, 1)


def run_on(
    artifact: Artifact,
    samples: "Samples",
    preprocess: Preprocess,
    threads: int,
    progress: Progress,
    device: DeviceView | None = None,
    engine: Engine = HERE,
) -> "NDArray[np.float32]":
    """Logits `[N, C]` of the artifact on the images. Raises StageError where they cannot be."""
    subject = Subject(artifact, preprocess, device)
    with progress.bar(f"running {artifact.path.name} ({artifact.format})", len(samples)) as bar:
        if engine == HERE:
            return logits_of(subject.open(threads), subject, samples, threads, bar.advance)
        return logits_in_shards(engine, subject, samples, threads, bar.advance)
