"""The logits of a bundle as a board gives them, and its times, measured once and kept in the store."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, atomic_path
from pipeline.board.board import Board
from pipeline.data.preprocess import Preprocess
from pipeline.evaluation.evaluator import LOGITS
from pipeline.progress import Progress
from pipeline.recipe import Device
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

VERSION = 2
BATCH = 64
TIMES = "milliseconds.npy"
"""Inference time of every image, float64 `[N]`."""


def board_of(device: Device, folder: Path) -> Board:
    """The board that a recipe in `folder` means. Raises UsageError for words that cannot be."""
    identity = None if device.identity is None else folder / Path(device.identity).expanduser()
    return Board(
        host=device.host,
        port=device.port,
        user=device.user,
        identity=identity,
        command=device.command,
        folder=device.folder,
        config=None if device.ssh_config is None else folder / Path(device.ssh_config).expanduser(),
        timeout=device.timeout,
    )


def board_outputs(
    artifact: Artifact,
    samples: "Samples",
    preprocess: Preprocess,
    store: Store,
    board: Board,
    progress: Progress,
) -> Entry:
    """Run the bundle on every image, in order; the entry's `logits.npy` is float32 `[N, C]`, and
    beside it are the times.

    Batches that were finished before a run broke off are kept until all are.
    """
    fields = {
        "version": VERSION,
        "artifact": artifact.sha256,
        "samples": samples.digest,
        "preprocess": preprocess.model_dump(mode="json"),
        "board": [board.host, board.port, board.user, board.command],
    }
    name = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:20]
    keep = store.root / "board-batches" / name

    def build(folder: Path) -> Mapping[str, Any]:
        import shutil

        import numpy as np

        from pipeline.board.run import run_on_board
        from pipeline.synap.bundle_read import read_bundle

        classes = math.prod(read_bundle(artifact.path).outputs[0].shape)

        def crops() -> "Iterator[NDArray[np.uint8]]":
            for batch, _ in samples.crops(preprocess, BATCH):
                yield batch

        outputs = run_on_board(board, artifact.path, crops(), len(samples), classes, keep, progress)
        for name, values in ((LOGITS, outputs.logits), (TIMES, outputs.milliseconds)):
            with atomic_path(folder / name) as temporary, temporary.open("wb") as stream:
                np.save(stream, values)
        shutil.rmtree(keep, ignore_errors=True)
        return {}

    return store.get("board", fields, build)


def median_latency(entries: Sequence[Entry]) -> float:
    """Median over the images of all entries, in ms."""
    import numpy as np

    from pipeline.board.latency import latency_of

    times = [np.load(entry.path(TIMES), allow_pickle=False) for entry in entries]
    return latency_of(np.concatenate(times)).median
