"""Run the `weights` artifact with PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TorchRunner:
    """A timm model in evaluation mode."""

    def __init__(self, folder: Path, normalization: Normalization, threads: int) -> None:
        import torch

        from pipeline.sources.model_folder import load_model

        torch.set_num_threads(threads)
        self._torch = torch
        # The memory layout in which CPU convolutions need no reordering.
        model: Any = load_model(folder)
        self._model = model.to(memory_format=torch.channels_last)
        self._normalization = normalization

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        images = self._torch.from_numpy(self._normalization.apply(crops))
        with self._torch.inference_mode():
            logits = self._model(images.to(memory_format=self._torch.channels_last))
        array: NDArray[np.float32] = logits.numpy()
        return array


def open_torch(path: Path, normalization: Normalization | None, threads: int) -> TorchRunner:
    """Open a model folder; its normalization is the recipe's, so it has to be given."""
    if normalization is None:
        raise StageError("a PyTorch model needs a declared preprocessing", where=str(path))
    return TorchRunner(path, normalization, threads)
