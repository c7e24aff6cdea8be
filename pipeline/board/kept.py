"""Finished batches, kept on this machine, so that a broken run goes on where it was.

A batch is found again by all that its result depends on: board, model, place in the order, and the
images' own bytes. So a folder may be kept between runs without ever giving another model's logits.
"""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifact import atomic_path, digest_of_data
from pipeline.board.board import Board
from pipeline.system_errors import system_errors_explained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Batch = tuple[NDArray[np.float32], NDArray[np.float64]]

_KEY_LENGTH = 20


@dataclass(frozen=True)
class Kept:
    """The kept batches of one model on one board. `say` is told of damaged files."""

    folder: Path
    board: Board
    model_sha256: str
    classes: int
    say: Callable[[str], None]

    def path(self, start: int, crops: "NDArray[np.uint8]") -> Path:
        """Where the batch `[n, H, W, 3]` that begins at image `start` is kept."""
        key = digest_of_data(
            {
                "board": [self.board.host, self.board.port, self.board.user, self.board.command],
                "model": self.model_sha256,
                "classes": self.classes,
                "shape": list(crops.shape),
                "crops": hashlib.sha256(crops.tobytes()).hexdigest(),
            }
        )
        return self.folder / f"{start:06d}-{key[:_KEY_LENGTH]}.npz"

    def load(self, path: Path, images: int) -> "Batch | None":
        """Logits `float32 [images, classes]` and times `float64 [images]`; None if not kept."""
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as file:
                logits, milliseconds = file["logits"], file["milliseconds"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self.say(f"{path} is damaged; its images are run again")
            return None
        if (
            logits.shape != (images, self.classes)
            or milliseconds.shape != (images,)
            or logits.dtype != np.float32
            or milliseconds.dtype != np.float64
        ):
            self.say(f"{path} is not what was kept; its images are run again")
            return None
        return logits, milliseconds

    def save(self, path: Path, batch: "Batch") -> None:
        """Keep a batch, whole or not at all. Raises StageError where that cannot be written."""
        import numpy as np

        with (
            system_errors_explained(str(path), self.folder),
            atomic_path(path) as temporary,
            temporary.open("wb") as stream,
        ):
            np.savez(stream, logits=batch[0], milliseconds=batch[1])
