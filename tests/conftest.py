"""A tiny real setting: a timm architecture of 0.4 M parameters, images of ten ImageNet classes.

The backbone has seeded random weights (batch norms that do something included); its classifier is
set to the classes' mean features, so that the accuracy is well above chance.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipeline

REPOSITORY = Path(pipeline.__file__).parents[1]
SYNSETS = (
    "n01440764", "n01443537", "n01484850", "n01491361", "n01494475",
    "n01496331", "n01498041", "n01514668", "n01514859", "n01518878",
)  # fmt: skip
"""The first ten of the ILSVRC2012 order, labels 0 to 9."""
PER_CLASS = 8
SIZE = 64
RECIPE = f"""\
schema: 1
model: {{source: checkpoint, name: test_resnet, weights: weights.safetensors}}
data:
  preprocess: {{size: {SIZE}, interpolation: bilinear, crop: 1.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
  folder: images
  calibration: {{dataset: imagenet, images: 20}}
  evaluation: {{dataset: imagenet, images: all}}
quantize: {{data_type: uint8, scheme: asymmetric_affine, ranges: {{rule: minmax}}}}
compile: {{delegate: cpu}}
checks:
  weights: {{min_top1: 0.5}}
  export: {{max_logit_error: 1.0e-3}}
  quantize: {{max_top1_drop: 0.2, confidence: 0.9}}
  compile: {{max_top1_drop: 0.2, confidence: 0.9}}
"""


@dataclass(frozen=True)
class Finished:
    """What a run of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Setting:
    """Weights, images and a recipe in `root`, and the real command line on them."""

    root: Path
    artifacts: Path

    @property
    def weights(self) -> Path:
        return self.root / "weights.safetensors"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def recipe(self) -> Path:
        return self.root / "tiny.yaml"

    @property
    def store(self) -> Path:
        return self.artifacts / ".store"

    def report(self, target: str = "sl1680") -> Any:
        return json.loads((self.artifacts / "tiny" / target / "report.json").read_text())

    def entries(self, kind: str) -> set[str]:
        """The keys of the finished entries of a kind."""
        return {path.parent.name for path in (self.store / kind).glob("*/entry.json")}

    def half_made(self) -> list[Path]:
        """What an unfinished run must not leave behind: unfinished entries and hidden files."""
        return [
            path
            for path in self.artifacts.rglob("*")
            if path.name.endswith(".partial") or path.name.startswith(".tmp")
            if ".lock" not in path.name
        ]

    def command(self, *words: str | Path, recipe: Path | None = None) -> list[str]:
        """The command line of one of the commands that take a recipe."""
        name, *rest = map(str, words)
        return [
            sys.executable, "-m", "pipeline", name, str(recipe or self.recipe),
            "--artifacts", str(self.artifacts), *rest,
        ]  # fmt: skip

    def run(self, *words: str | Path, **options: Any) -> Finished:
        """`pipeline run` with these further words."""
        return call(self.command("run", "--threads", "2", *words, **options))

    def plan(self, *words: str) -> dict[str, str]:
        """`pipeline plan`, by stage."""
        done = call(self.command("plan", "--json", *words))
        assert done.code == 0, done.err
        return {row["stage"]: row["state"] for row in done.json}


def environment(**changes: str) -> dict[str, str]:
    """Of the user's environment what a run needs: no network, no more threads than two."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "2",
        "HF_HUB_OFFLINE": "1",
        **changes,
    }


def call(argv: Sequence[str], **changes: str) -> Finished:
    done = subprocess.run(
        argv, capture_output=True, text=True, env=environment(**changes), timeout=300, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def picture(label: int, number: int) -> Image.Image:
    """A picture whose colours depend on its class, with noise of its own."""
    random = np.random.default_rng([label, number])
    colours = np.random.default_rng(label).uniform(40, 215, (2, 2, 3))
    smooth = np.asarray(
        Image.fromarray(colours.astype(np.uint8)).resize((80, 72), Image.Resampling.BILINEAR)
    )
    noisy = smooth + random.normal(0, 12, 3) + random.normal(0, 30, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def write_images(folder: Path, per_class: int = PER_CLASS) -> None:
    folder.mkdir(parents=True)
    for label, synset in enumerate(SYNSETS):
        for number in range(per_class):
            picture(label, number).save(folder / f"{synset}_{number}.JPEG", quality=92)


def write_weights(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from pipeline.data.preprocess import Preprocess
    from pipeline.sources.timm_models import build

    view = Preprocess(size=SIZE, interpolation="bilinear", crop=1.0)
    torch.manual_seed(0)
    model: Any = build("test_resnet", len(SYNSETS))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.6, 1.4)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.6, 1.4)
        labels = np.repeat(np.arange(len(SYNSETS)), 24)
        crops = np.stack(
            [view.crop_image(picture(label, 1000 + i)) for i, label in enumerate(labels)]
        )
        images = torch.from_numpy(view.normalization.apply(crops))
        features = model.forward_head(model.forward_features(images), pre_logits=True).numpy()
        # The class whose mean is nearest: |f - m_c|² up to what is the same for all classes.
        means = np.stack([features[labels == label].mean(0) for label in range(len(SYNSETS))])
        centre = means.mean(0)
        weight = 4.0 * (means - centre)
        bias = -weight @ centre - 2.0 * ((means - centre) ** 2).sum(1)
        model.fc.weight.copy_(torch.from_numpy(weight))
        model.fc.bias.copy_(torch.from_numpy(bias))
    save_file(model.state_dict(), path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of weights, images and recipe. Read only: shared by all tests."""
    root = tmp_path_factory.mktemp("tiny")
    write_images(root / "images")
    write_weights(root / "weights.safetensors")
    (root / "tiny.yaml").write_text(RECIPE)
    return root
