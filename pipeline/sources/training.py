"""A short training of a classifier that gives the same weights every time.

AdamW with a one-cycle learning rate (Smith and Topin, "Super-Convergence", arXiv:1708.07120),
cross entropy, no augmentation. The same machine, versions and number of threads give the same
bits; other machines give other roundings and thus another model of about the same accuracy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError, UsageError
from pipeline.progress import Progress
from pipeline.recipe import TrainOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Run the body with torch's generator seeded and its deterministic algorithms.

    The generator, the setting and the gradient mode are afterwards as they were before. What has
    no deterministic algorithm runs all the same, with torch's warning.
    """
    import torch

    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def train(
    model: "nn.Module",
    crops: "NDArray[np.uint8]",
    labels: "NDArray[np.int64]",
    normalization: Normalization,
    options: TrainOptions,
    progress: Progress,
) -> None:
    """Train in place on `uint8 [n, H, W, 3]` crops with `int64 [n]` labels; leaves eval mode.

    Every epoch takes the images in a new order and drops the rest that does not fill a batch (a
    batch norm cannot normalise a single image). Call it within `reproducible`. Raises UsageError
    for a size the architecture cannot take or a batch of one, StageError if training diverges.
    """
    import numpy as np
    import torch
    from torch.nn import functional

    batch = min(options.batch, len(crops))
    if batch < 2:
        raise UsageError("a batch needs at least 2 images", where="model.options.batch")
    steps_per_epoch = len(crops) // batch
    steps = options.epochs * steps_per_epoch
    module: Any = model
    module.to(memory_format=torch.channels_last)
    _require_size_fits(model, crops.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=options.learning_rate, total_steps=steps
    )
    order = np.random.default_rng(options.seed)
    model.train()
    with progress.bar(f"train on {len(crops)} images", float(steps)) as bar:
        for _ in range(options.epochs):
            places = order.permutation(len(crops))[: steps_per_epoch * batch]
            for chosen in places.reshape(steps_per_epoch, batch):
                inputs = torch.from_numpy(normalization.apply(crops[chosen]))
                logits = model(inputs.contiguous(memory_format=torch.channels_last))
                loss = functional.cross_entropy(
                    logits,
                    torch.from_numpy(labels[chosen]),
                    label_smoothing=options.label_smoothing,
                )
                if not bool(torch.isfinite(loss)):
                    raise StageError(
                        "the training diverged: its loss is no finite number any more",
                        where="model.options",
                        hint="lower model.options.learning_rate",
                    )
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                bar.advance()
    model.eval()


def _require_size_fits(model: "nn.Module", size: int) -> None:
    import torch

    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"{type(model).__name__} cannot take {size}x{size} images ({error})",
            where="model.options.size",
            hint="set another size, or another architecture as model.name",
        ) from error
