"""Program of the tests, for a Python with MindSpore and MindCV: a random model and its logits.

Leaves in the folder of its argument `inception_v4.ckpt`, `names.txt`, `images.npy`, `logits.npy`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def drawn(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    """Values that keep activations at their size from layer to layer; the small variances make the
    batch norms' eps count."""
    if name.endswith(("moving_mean", "beta", "bias")):
        return random.uniform(-0.3, 0.3, shape)
    if name.endswith("moving_variance"):
        return random.uniform(0.05, 2.0, shape)
    if name.endswith("gamma"):
        return random.uniform(0.4, 1.0, shape)
    return random.normal(0.0, (2.0 / np.prod(shape[1:])) ** 0.5, shape)


def main(folder: Path) -> None:
    import mindspore  # type: ignore[import-not-found]
    from mindcv.models import create_model  # type: ignore[import-not-found]

    mindspore.set_context(mode=mindspore.PYNATIVE_MODE, device_target="CPU")
    network = create_model("inception_v4", num_classes=1000).set_train(False)
    random = np.random.default_rng(3)
    names = []
    for parameter in network.get_parameters():
        values = drawn(parameter.name, parameter.shape, random).astype(np.float32)
        parameter.set_data(mindspore.Tensor(values))
        names.append(f"{parameter.name} {'x'.join(map(str, parameter.shape))}\n")
    (folder / "names.txt").write_text("".join(names))
    mindspore.save_checkpoint(network, str(folder / "inception_v4.ckpt"))
    # Coarse patches: fine noise averages out, and all images would be one to the model.
    images = random.normal(0.0, 1.0, (2, 3, 13, 13)).repeat(23, 2).repeat(23, 3).astype(np.float32)
    logits = network(mindspore.Tensor(images)).asnumpy()
    np.save(folder / "images.npy", images)
    np.save(folder / "logits.npy", logits)
    print(f"mindspore {mindspore.__version__}, largest logit {np.abs(logits).max():g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
