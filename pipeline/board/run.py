"""Run a `.synap` model on a board over images, in batches, through broken connections."""

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifact import digest_of_path
from pipeline.board.board import Board
from pipeline.board.board_error import BoardError, LineBroken
from pipeline.board.cli_output import read_output
from pipeline.board.kept import Kept
from pipeline.board.visit import Visit
from pipeline.errors import StageError
from pipeline.progress import Progress
from pipeline.system_errors import system_errors_explained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.board.kept import Batch

MAX_BATCH = 2048
"""Images of a batch: their names have to fit into one command line."""
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class BoardOutputs:
    """What the board gave for each image, in the given order."""

    logits: "NDArray[np.float32]"
    """`[N, classes]`, the model's dequantized output as it is."""
    milliseconds: "NDArray[np.float64]"
    """`[N]`: inference alone, as `synap_cli_ic` measured it."""


def run_on_board(
    board: Board,
    bundle: Path,
    crops: "Iterable[NDArray[np.uint8]]",
    count: int,
    classes: int,
    keep: Path,
    progress: Progress,
) -> BoardOutputs:
    """Logits and times of `count` images, given as batches of crops `uint8 [n, H, W, 3]`.

    H and W have to be the model's own input size: the device then resizes nothing, and its view
    of an image is the crop. Each batch is one run of `synap_cli_ic`. Finished batches are kept in
    `keep`; another call with the same model and images only runs those that are missing there,
    and does not even need the board if none is. A broken connection is taken up again up to
    `board.attempts` times in succession, unless the board never answered at all.

    Raises BoardError and StageError in words; what was finished is then kept.
    """
    import numpy as np

    with system_errors_explained(str(bundle), bundle.parent):
        kept = Kept(keep, board, digest_of_path(bundle), classes, progress.note)
    if board.identity is not None and not board.identity.expanduser().is_file():
        raise BoardError(
            "there is no such key", where=str(board.identity), hint="check device.identity"
        )
    logits = np.empty((count, classes), np.float32)
    milliseconds = np.empty(count, np.float64)
    visit = Visit(board, bundle.absolute(), progress.note)
    done = 0
    try:
        with progress.bar(f"{bundle.name} on {board}", count) as bar:
            for batch in crops:
                end = done + len(batch)
                _require(batch, end, count)
                path = kept.path(done, batch)
                result = kept.load(path, len(batch))
                if result is None:
                    result = _run_batch(visit, board, batch, done, classes, progress)
                    kept.save(path, result)
                logits[done:end], milliseconds[done:end] = result
                bar.advance(len(batch))
                done = end
    finally:
        visit.close()
    if done != count:
        raise StageError(f"{count} images were announced for the board, and {done} came")
    return BoardOutputs(logits, milliseconds)


def _run_batch(
    visit: Visit,
    board: Board,
    crops: "NDArray[np.uint8]",
    start: int,
    classes: int,
    progress: Progress,
) -> "Batch":
    """One batch, in as many attempts as its connection needs."""
    with tempfile.TemporaryDirectory(prefix="board-") as name:
        names = _write_images(crops, Path(name), start)
        for attempt in range(1, board.attempts + 1):
            try:
                if not visit.is_open:
                    visit.open()
                return read_output(visit.run(Path(name), names), names, classes)
            except LineBroken as error:
                visit.lose()
                if not visit.reached or attempt == board.attempts:
                    raise
                pause = min(board.pause * 2 ** (attempt - 1), _LONGEST_PAUSE)
                progress.note(
                    f"{error.what}\n  once more in {pause:g} s ({attempt} of {board.attempts - 1})"
                )
                time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _write_images(crops: "NDArray[np.uint8]", folder: Path, start: int) -> list[str]:
    """Write crops as RGB PNG: `synap_cli_ic` ends in mid-batch at a file of another kind."""
    from PIL import Image

    names = [f"{start + row:06d}.png" for row in range(len(crops))]
    with system_errors_explained("images for the board", folder):
        for name, crop in zip(names, crops, strict=True):
            # Hardly compressed: the way to the board is faster than zlib.
            Image.fromarray(crop).save(folder / name, compress_level=1)
    return names


def _require(batch: "NDArray[np.uint8]", end: int, count: int) -> None:
    if batch.ndim != 4 or batch.shape[3] != 3 or batch.dtype != "uint8" or not batch.size:
        raise StageError(
            f"a batch for the board is {batch.dtype} {list(batch.shape)}, not uint8 [n, H, W, 3]"
        )
    if len(batch) > MAX_BATCH:
        raise StageError(f"a batch for the board has at most {MAX_BATCH} images, not {len(batch)}")
    if end > count:
        raise StageError(f"{count} images were announced for the board, and more came")
