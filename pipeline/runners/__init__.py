"""Run any artifact on images: the same question asked of every format in the same way."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.artifact import Format
from pipeline.data.preprocess import Normalization
from pipeline.runners import onnx, synap, tflite, torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Runner(Protocol):
    """A loaded model that takes crops and gives logits."""

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Logits `float32 [N, classes]` of crops `uint8 [N, H, W, 3]`."""


Opener = Callable[[Path, Normalization | None, int], Runner]

RUNNERS: dict[Format, tuple[Opener, tuple[str, ...]]] = {
    "torch": (torch.open_torch, ("torch", "timm")),
    "onnx": (onnx.open_onnx, ("onnxruntime",)),
    "qdq-onnx": (onnx.open_onnx, ("onnxruntime",)),
    "tflite": (tflite.open_tflite, ("ai-edge-litert",)),
    "synap": (synap.open_synap, ("onnxruntime",)),
}
"""By format: how it is opened, and the packages whose version shapes its logits."""


def open_runner(
    format: Format, path: Path, normalization: Normalization | None, threads: int
) -> Runner:
    """Open an artifact. `normalization` serves files that do not carry their own."""
    return RUNNERS[format][0](path, normalization, threads)
