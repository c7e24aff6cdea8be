"""The logits of a bundle as a board gives them, and its times, measured once and kept in the store."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, atomic_path
from pipeline.board.board import Board
from pipeline.data.preprocess import Preprocess
from pipeline.evaluate import LOGITS
from pipeline.progress import Progress
from pipeline.recipe import Device
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

VERSION = 1
BATCH = 64
LATENCY = "latency_ms"
"""In what the entry records: median, mean and 95th percentile."""


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
        config=None if device.ssh_config is None else folder / device.ssh_config,
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
    """Run the bundle on every image, in order; the entry's `logits.npy` is float32 `[N, C]`.

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
        from dataclasses import asdict

        import numpy as np

        from pipeline.board.latency import latency_of
        from pipeline.board.run import run_on_board
        from pipeline.synap.bundle_read import read_bundle

        classes = read_bundle(artifact.path).outputs[0].shape[-1]

        def crops() -> "Iterator[NDArray[np.uint8]]":
            for batch, _ in samples.crops(preprocess, BATCH):
                yield batch

        outputs = run_on_board(board, artifact.path, crops(), len(samples), classes, keep, progress)
        with atomic_path(folder / LOGITS) as temporary, temporary.open("wb") as stream:
            np.save(stream, outputs.logits)
        shutil.rmtree(keep, ignore_errors=True)
        return {LATENCY: asdict(latency_of(outputs.milliseconds))}

    return store.get("board", fields, build)
