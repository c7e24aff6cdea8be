"""Inception V4 at 299 with seeded weights, and real photographs to run it on.

The weights are random, but the batch norms' statistics are re-estimated on the photographs, so
that activations neither vanish nor explode. The photographs are crops of the two that ship with
scikit-learn.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.preprocess import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREPROCESS = Preprocess(size=299)
MODEL = "inception_v4_299.onnx"
CROPS = "crops.npy"
SEED = 0


def photographs(count: int) -> "NDArray[np.uint8]":
    """Crops `uint8 [count, 299, 299, 3]`, each of another place, size and orientation."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(SEED)
    sources = [Image.fromarray(picture) for picture in load_sample_images().images]
    crops = np.empty((count, 299, 299, 3), np.uint8)
    for index in range(count):
        source = sources[index % len(sources)]
        side = int(random.integers(120, min(source.size)))
        left = int(random.integers(0, source.width - side + 1))
        top = int(random.integers(0, source.height - side + 1))
        part = source.crop((left, top, left + side, top + side))
        if random.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        crops[index] = PREPROCESS.crop_image(part)
    return crops


def seeded_model(crops: "NDArray[np.uint8]", batches: int = 2) -> Any:
    """The PyTorch model in evaluation mode."""
    import torch

    from pipeline.sources.timm_models import build

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        model: Any = build("inception_v4", 1000)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # a plain average over all batches
            norm.reset_running_stats()
        model.train()
        for start in range(0, 16 * batches, 16):
            model(torch.from_numpy(PREPROCESS.normalization.apply(crops[start : start + 16])))
    return model.eval()


def export_model(model: Any, path: Path) -> None:
    """Write a model as the canonical Graph."""
    from pipeline.graph.file import save_graph, set_preprocess
    from pipeline.graph.tracing import graph_of_module

    graph = graph_of_module(model, PREPROCESS.size)
    set_preprocess(graph, PREPROCESS)
    save_graph(graph, path)


def prepare(folder: Path, images: int) -> None:
    """Make the model and the photographs in `folder`, once."""
    folder.mkdir(parents=True, exist_ok=True)
    count = max(images, 32)
    crops_path = folder / CROPS
    if not crops_path.exists() or len(np.load(crops_path, mmap_mode="r")) < count:
        np.save(crops_path, photographs(count))
    if not (folder / MODEL).exists():
        export_model(seeded_model(np.load(crops_path, mmap_mode="r")[:32]), folder / MODEL)
