"""What lies beside a model on the board: its labels, a picture to try it on, and how to run it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifact import write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABELS = "info.json"
"""The runtime looks for this name beside the model and in the folders above it."""
PICTURE = "sample.png"
COMMAND = "run.sh"


def write_companions(
    folder: Path, bundle: str, labels: Sequence[str] | None, crop: "NDArray[np.uint8]"
) -> None:
    """`crop` is `uint8 [H, W, 3]` of the model's own size, which the board takes as it is; without
    `labels` the program shows numbers of classes only."""
    from PIL import Image

    write_text(folder / LABELS, json.dumps({"labels": list(labels or ())}, indent=1) + "\n")
    Image.fromarray(crop).save(folder / PICTURE)
    write_text(
        folder / COMMAND,
        "#!/bin/sh\n"
        "# On the board, with this folder copied to it:\n"
        f'cd "$(dirname "$0")" && synap_cli_ic -m {bundle} {PICTURE}\n',
    )
