"""A tiny real setting: a timm architecture of 0.4 M parameters, images of ten ImageNet classes.

The backbone has seeded random weights (batch norms that do something included); its classifier is
set to the classes' mean features, so that the accuracy is well above chance.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import pipeline
from pipeline.data.preprocess import Preprocess
from pipeline.progress import Silent

REPOSITORY = Path(pipeline.__file__).parents[1]
# A shell starts jobs in the background with Ctrl-C ignored, and programs pass that on to those they
# start; the tests that send it mean a program that was started as a person does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
  uneven_classes: accept
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
        """What an unfinished run must not leave behind: unfinished entries and temporary files."""
        return [
            path
            for path in self.artifacts.rglob("*")
            if path.name.endswith(".partial")
            or (path.name.startswith(".") and path.name != ".store")
            or path.name.startswith("images.json.")
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
        """`pipeline plan`, by stage, in the words that it has for people."""
        done = call(self.command("plan", "--json", *words))
        assert done.code == 0, done.err
        words = {"run": "would run: ", "skipped": "skipped: ", "stored": "is in the store"}
        return {row["stage"]: words[row["state"]] + row["reason"] for row in done.json}


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
        argv, capture_output=True, text=True, env=environment(**changes), timeout=900, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def pipeline_run(recipe: Path, artifacts: Path, *words: str) -> Finished:
    """`pipeline run … --json` on a recipe of the test's own."""
    argv = [sys.executable, "-m", "pipeline", "run", str(recipe), "--artifacts", str(artifacts)]
    return call([*argv, "--threads", "2", "--json", *words])


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


def stir_batch_norms(model: Any) -> None:
    """Give batch norms parameters as training leaves them; fresh ones do next to nothing."""
    import torch

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.6, 1.4)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.6, 1.4)


def view_of(size: int = SIZE, **changes: Any) -> Preprocess:
    return Preprocess(size=size, **{"interpolation": "bilinear", "crop": 1.0, **changes})


def crops_of(view: Preprocess, count: int, first: int = 5000) -> NDArray[np.uint8]:
    """Crops of pictures that are in no set."""
    pictures = (picture(i % len(SYNSETS), first + i) for i in range(count))
    return np.stack([view.crop_image(image) for image in pictures])


def write_weights(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from pipeline.sources.timm_models import build

    view = view_of()
    torch.manual_seed(0)
    model: Any = build("test_resnet", len(SYNSETS))
    stir_batch_norms(model)
    with torch.no_grad():
        labels = np.arange(240) % len(SYNSETS)
        images = torch.from_numpy(view.normalization.apply(crops_of(view, 240, 1000)))
        features = model.forward_head(model.forward_features(images), pre_logits=True).numpy()
        # The class whose mean is nearest: |f - m_c|² up to what is the same for all classes.
        means = np.stack([features[labels == label].mean(0) for label in range(len(SYNSETS))])
        centre = means.mean(0)
        weight = 4.0 * (means - centre)
        bias = -weight @ centre - 2.0 * ((means - centre) ** 2).sum(1)
        model.fc.weight.copy_(torch.from_numpy(weight))
        model.fc.bias.copy_(torch.from_numpy(bias))
    save_file(model.state_dict(), path)


def save_architecture(name: str, folder: Path, view: Preprocess, classes: int = 10) -> Path:
    """A timm architecture with seeded random weights, as the `weights` stage leaves it."""
    import torch

    from pipeline.sources.model_folder import ModelDescription, Origin, save_model
    from pipeline.sources.timm_models import build

    torch.manual_seed(1)
    model = build(name, classes)
    stir_batch_norms(model)
    folder.mkdir(parents=True)
    description = ModelDescription(
        architecture=name,
        num_classes=classes,
        preprocess=view,
        source="checkpoint",
        origin=Origin(file="seeded"),
        parameters=sum(p.numel() for p in model.parameters()),
    )
    save_model(folder, model, description)
    return folder


def export_graph(folder: Path, view: Preprocess, into: Path) -> Path:
    """Carry out the `export` stage on a model folder; the graph's file."""
    from pipeline.recipe_file import load_recipe
    from pipeline.stages import export
    from pipeline.stages.stage import Settings, Work
    from pipeline.store import Store

    into.mkdir(parents=True, exist_ok=True)
    (into / "recipe.yaml").write_text(RECIPE)
    settings = Settings(load_recipe(into / "recipe.yaml"), None, preprocess=view)
    unused: Any = None
    store = Store(into / "store", lambda text: None)
    made = into / "export"
    made.mkdir()
    export.STAGE.make(Work(made, {"model": folder}, settings, unused, store, 2, Silent()))
    return made / export.GRAPH


@pytest.fixture(scope="session")
def lab() -> Any:
    """The functions of this file, because test files cannot import one another."""
    return SimpleNamespace(
        **{
            made.__name__: made
            for made in (
                *(call, environment, picture, write_images, view_of, crops_of),
                *(save_architecture, export_graph, pipeline_run),
            )
        },
        SYNSETS=SYNSETS,
        RECIPE=RECIPE,
        REPOSITORY=REPOSITORY,
    )


@dataclass(frozen=True)
class Trio:
    """One float model in the three forms that can be run: PyTorch, ONNX and a bundle."""

    view: Preprocess
    folder: Path
    graph: Path
    bundle: Path


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    from pipeline.synap.cpu_bundle import write_cpu_bundle

    root = tmp_path_factory.mktemp("trio")
    view = view_of(mean=(0.5, 0.4, 0.45), std=(0.25, 0.25, 0.25))
    folder = save_architecture("test_resnet", root / "model", view)
    graph = export_graph(folder, view, root)
    write_cpu_bundle(graph, root / "model.synap")
    return Trio(view, folder, graph, root / "model.synap")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of weights, images and recipe. Read only: shared by all tests."""
    root = tmp_path_factory.mktemp("tiny")
    write_images(root / "images")
    write_weights(root / "weights.safetensors")
    (root / "tiny.yaml").write_text(RECIPE)
    return root


@pytest.fixture(scope="session")
def first_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Setting, Finished]:
    """A whole run of the recipe for both targets, and what it printed. Read only."""
    setting = Setting(tiny, tmp_path_factory.mktemp("first") / "artifacts")
    return setting, setting.run()


@pytest.fixture
def fresh(tiny: Path, tmp_path: Path) -> Setting:
    """Nothing is made yet."""
    return Setting(tiny, tmp_path / "artifacts")


@pytest.fixture
def made(first_run: tuple[Setting, Finished], tmp_path: Path) -> Setting:
    """Everything is made; a copy of the first run's results, the test's own."""
    setting, done = first_run
    assert done.code == 0, done.err
    shutil.copytree(setting.artifacts, tmp_path / "artifacts")
    return Setting(setting.root, tmp_path / "artifacts")
