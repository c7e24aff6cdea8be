"""Source `digits` and its training, with a small architecture and few steps."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.data.digits import digits_training, open_digits
from pipeline.errors import StageError, UsageError
from pipeline.progress import Silent
from pipeline.recipe import Model, TrainOptions
from pipeline.sources import digits_source
from pipeline.sources.model_folder import load_model, read_description
from pipeline.sources.timm_models import build
from pipeline.sources.training import reproducible, train

SMALL = "test_byobnet"
"""timm's quickest architecture for its tests that takes images of 75x75."""


class Counting(Silent):
    """Adds up what the bars advance."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.done = 0.0

    def bar(self, text: str, total: float) -> Any:
        self.total += total
        return self

    def __enter__(self) -> "Counting":
        return self

    def __exit__(self, *failure: object) -> None:
        return

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount


def recipe_model(name: str = SMALL, **options: Any) -> Model:
    return Model.model_validate({"source": "digits", "name": name, "options": options})


def produce(folder: Path, model: Model, weights: Path | None = None) -> Counting:
    progress: Any = Counting()
    folder.mkdir(exist_ok=True)
    made = digits_source.produce(model, weights, folder, progress)
    assert made == read_description(folder)
    counted: Counting = progress
    return counted


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small convolutions on busy cores spend their time waiting for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counting]:
    """A folder with a network trained for 3 epochs, and how its progress was told."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, produce(folder, recipe_model(epochs=3, learning_rate=3e-3))


def test_it_learns(trained: tuple[Path, Counting]) -> None:
    """On digits it never saw, where chance is right once in ten times."""
    model, view = load_model(trained[0]), read_description(trained[0]).preprocess
    digits = open_digits(None)
    items = digits.listing()[:200]
    crops = np.stack([view.crop_image(digits.image(item.id)) for item in items])
    with torch.no_grad():
        guesses = model(torch.from_numpy(view.normalization.apply(crops))).argmax(1).numpy()
    assert (guesses == np.array([item.label for item in items])).mean() > 0.6


def test_it_describes_itself(trained: tuple[Path, Counting]) -> None:
    description = read_description(trained[0])
    assert description.num_classes == 10
    assert description.architecture == SMALL
    assert description.origin.training == TrainOptions(epochs=3, learning_rate=3e-3)
    assert description.weights_sha256 is None
    assert description.published is None
    assert description.preprocess == digits_source.preprocess(75)


def test_progress_counts_every_step(trained: tuple[Path, Counting]) -> None:
    images = len(digits_training()[0])
    assert trained[1].total == trained[1].done == 3 * (images // 32)


def test_the_seed_decides_the_weights_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        produce(tmp_path / name, recipe_model(epochs=1, batch=500, seed=seed))
        return load_file(tmp_path / name / "model.safetensors")

    def outside() -> str:
        return repr((np.random.get_state(), random.getstate(), torch.get_num_threads()))

    generator, others = torch.get_rng_state(), outside()
    with torch.no_grad():  # the caller's gradient mode does not matter
        one = weights("one", 0)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), generator)
    torch.rand(3)
    two, other = weights("two", 0), weights("other", 1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.fc.weight"], other["head.fc.weight"])
    assert outside() == others
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_digit_is_seen_in_training_as_in_evaluation() -> None:
    digits = open_digits(None)
    item = digits.listing()[0]
    view = digits_source.preprocess(75)
    pixels = np.frombuffer(digits.content(item.id), np.uint8).reshape(8, 8)
    in_training = view.crop_image(Image.fromarray(pixels))
    assert in_training.shape == (75, 75, 3)
    assert np.array_equal(in_training, view.crop_image(digits.image(item.id)))


def test_a_file_in_place_of_the_training(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = build(SMALL, 10).state_dict()
    save_file(state, path)
    model = recipe_model(size=99)
    assert digits_source.missing(model, path) == []
    assert produce(tmp_path / "folder", model, path).total == 0
    made = read_description(tmp_path / "folder")
    assert made.preprocess == digits_source.preprocess(99)
    assert made.origin.training is None
    loaded = load_model(tmp_path / "folder").state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert digits_source.missing(model, tmp_path / "absent") != []


@pytest.mark.parametrize(
    ("options", "name", "says"),
    [
        ({}, "inception_v5", "did you mean inception_v4"),
        ({"size": 100}, "test_vit", "cannot take 100x100 images"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, options: dict[str, Any], name: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        produce(tmp_path, recipe_model(name, **options))
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_classes() -> None:
    model = Model(source="digits", name=SMALL, num_classes=11)
    with pytest.raises(UsageError, match="10 digits, not 11"):
        digits_source.missing(model, None)


def test_a_training_that_diverges(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="diverged"):
        produce(tmp_path, recipe_model(learning_rate=1e30, batch=16))
    assert list(tmp_path.iterdir()) == []
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_interruption_leaves_the_settings_as_they_were() -> None:
    class Interrupting(Silent):
        def bar(self, text: str, total: float) -> Any:
            raise KeyboardInterrupt

    pictures, labels = digits_training()
    crops = np.zeros((len(pictures), 75, 75, 3), np.uint8)
    generator = torch.get_rng_state()
    progress: Any = Interrupting()
    view = digits_source.preprocess(75).normalization
    with pytest.raises(KeyboardInterrupt), reproducible(0):
        train(build(SMALL, 10), crops, labels, view, TrainOptions(), progress)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not torch.are_deterministic_algorithms_enabled()


def test_identity_holds_options_and_versions_but_no_path(tmp_path: Path) -> None:
    base = digits_source.identity(recipe_model(), None)
    assert base == digits_source.identity(recipe_model(), None)
    assert base["options"]["seed"] == 0
    assert all(base[name] for name in ("timm", "torch", "scikit-learn"))
    json.dumps(base)
    path = tmp_path / "w"
    path.write_bytes(b"x")
    others = [
        digits_source.identity(recipe_model(seed=1), None),
        digits_source.identity(recipe_model("test_vit"), None),
        digits_source.identity(recipe_model(), path),
        digits_source.identity(recipe_model(size=80), path),
    ]
    assert all(a != b for i, a in enumerate([base, *others]) for b in [base, *others][:i])
    assert str(tmp_path) not in json.dumps(others)
    plain = Model(source="digits", name=SMALL)
    written_out = Model(source="digits", name=SMALL, options=TrainOptions())
    assert digits_source.identity(plain, None) == digits_source.identity(written_out, None)
