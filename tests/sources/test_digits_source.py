"""Source `digits` and its training, with a small architecture and few steps."""

import json
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

QUICK = {"epochs": 1, "batch": 336}


def recipe_model(name: str = "test_resnet", **options: Any) -> Model:
    return Model.model_validate({"source": "digits", "name": name, "options": QUICK | options})


def make(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    folder.mkdir()
    progress: Any = Silent()
    digits_source.produce(recipe_model(**options), None, folder, progress)
    return load_file(folder / "model.safetensors")


def test_the_seed_decides_the_weights_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    generator = torch.get_rng_state()
    threads = torch.get_num_threads()
    numpy_state = json.dumps(np.random.get_state(), default=repr)  # noqa: NPY002
    with torch.no_grad():  # the caller's gradient mode must not matter
        one = make(tmp_path / "one")
        assert not torch.is_grad_enabled()
    torch.rand(3)
    two = make(tmp_path / "two")
    torch.set_rng_state(generator)
    other = make(tmp_path / "other", seed=1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert json.dumps(np.random.get_state(), default=repr) == numpy_state  # noqa: NPY002


def test_it_learns_and_describes_itself(tmp_path: Path) -> None:
    """A tiny network on digits it never saw; chance is 0.1."""
    make(tmp_path / "folder", epochs=6, batch=32, learning_rate=3e-3)
    model = load_model(tmp_path / "folder")
    description = read_description(tmp_path / "folder")
    assert description.num_classes == 10
    assert description.origin.training == TrainOptions(epochs=6, batch=32, learning_rate=3e-3)
    assert description.weights_sha256 is None
    digits = open_digits(None)
    items = digits.listing()
    view = description.preprocess
    crops = np.stack([view.crop_image(digits.image(item.id)) for item in items])
    with torch.no_grad():
        inputs = torch.from_numpy(view.normalization.apply(crops))
        guesses = torch.cat([model(part) for part in inputs.split(100)]).argmax(1).numpy()
    assert (guesses == np.array([item.label for item in items])).mean() > 0.8


def test_a_digit_is_seen_in_training_as_in_evaluation() -> None:
    digits = open_digits(None)
    item = digits.listing()[0]
    view = digits_source.preprocess(75)
    pixels = np.frombuffer(digits.content(item.id), np.uint8).reshape(8, 8)
    in_training = view.crop_image(Image.fromarray(pixels))
    assert in_training.shape == (75, 75, 3)
    assert np.array_equal(in_training, view.crop_image(digits.image(item.id)))


def test_progress_counts_every_step(tmp_path: Path) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            super().__init__()
            self.total = self.done = 0.0

        def bar(self, text: str, total: float) -> Any:
            self.total = total
            return self

        def __enter__(self) -> "Counting":
            return self

        def __exit__(self, *failure: object) -> None:
            return

        def advance(self, amount: float = 1.0) -> None:
            self.done += amount

    progress: Any = Counting()
    digits_source.produce(recipe_model(epochs=2), None, tmp_path, progress)
    assert progress.total == progress.done == 2 * (1008 // 336)


def test_a_file_in_place_of_the_training(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = build("test_resnet", 10).state_dict()
    save_file(state, path)
    (tmp_path / "folder").mkdir()
    progress: Any = Silent()
    model = recipe_model(size=99)
    assert digits_source.missing(model, path) == []
    made = digits_source.produce(model, path, tmp_path / "folder", progress)
    assert made.preprocess == digits_source.preprocess(99)
    assert made.origin.training is None
    loaded = load_model(tmp_path / "folder").state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert digits_source.missing(model, tmp_path / "absent") != []


@pytest.mark.parametrize(
    ("options", "name", "says"),
    [
        ({"batch": 1}, "test_resnet", "at least 2 images"),
        ({}, "inception_v5", "did you mean inception_v4"),
        ({"size": 100}, "test_vit", "cannot take 100x100 images"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, options: dict[str, Any], name: str, says: str
) -> None:
    progress: Any = Silent()
    with pytest.raises(UsageError, match=says):
        digits_source.produce(recipe_model(name, **options), None, tmp_path, progress)
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_classes() -> None:
    model = Model(source="digits", name="test_resnet", num_classes=11)
    with pytest.raises(UsageError, match="10 digits, not 11"):
        digits_source.missing(model, None)


def test_a_training_that_diverges(tmp_path: Path) -> None:
    progress: Any = Silent()
    model = recipe_model(learning_rate=1e30, epochs=4)
    with pytest.raises(StageError, match="diverged"):
        digits_source.produce(model, None, tmp_path, progress)
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
        train(build("test_resnet", 10), crops, labels, view, TrainOptions(), progress)
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
    plain = Model(source="digits", name="test_resnet")
    written_out = Model(source="digits", name="test_resnet", options=TrainOptions())
    assert digits_source.identity(plain, None) == digits_source.identity(written_out, None)
