"""Source `mindcv`: MindCV's checkpoints as timm's model, with every tensor accounted for."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import StageError, UsageError
from pipeline.progress import Silent
from pipeline.recipe import Model
from pipeline.sources import mindcv_source
from pipeline.sources.mindcv_names import timm_name
from pipeline.sources.model_folder import load_model, read_description
from pipeline.sources.timm_models import build

HERE = Path(__file__).parent


def recipe_model(**changes: Any) -> Model:
    return Model.model_validate({"source": "mindcv", "name": "inception_v4"} | changes)


def test_every_name_has_its_counterpart_of_the_same_shape(ckpt: Any) -> None:
    shapes = ckpt.shapes()
    own = {
        name: tuple(tensor.shape)
        for name, tensor in build("inception_v4", 1000).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    mapped = {timm_name(name): shape for name, shape in shapes.items()}
    assert len(mapped) == len(shapes) == 747
    assert mapped == own
    # What MindCV's table calls 42.74 M parameters counts the statistics of batch norms.
    counted = sum(math.prod(shape) for shape in shapes.values())
    statistics = sum(math.prod(s) for name, s in shapes.items() if "moving_" in name)
    assert (counted, counted - statistics) == (42_742_984, 42_679_816)
    assert statistics == 63_168


@pytest.mark.parametrize(
    "name",
    [
        "features.17.branch_0.conv.weight", "features.0.branch_0.conv.weight",
        "features.14.branch_1_3.conv.weight", "features.1.branch_1.0.bn.weight",
        "features.1.branch_1.0.conv.bias", "features.\u0661.branch_0.conv.weight",
        "classifier.gamma", "head.weight", "moments.features.1.branch_0.conv.weight", "",
    ],
)  # fmt: skip
def test_names_of_no_such_tensor(name: str) -> None:
    mapped = timm_name(name)
    assert mapped is None or mapped not in build("inception_v4", 10).state_dict()


@pytest.fixture(scope="module")
def state(ckpt: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return {name: torch.rand(shape) for name, shape in ckpt.shapes(7).items()}


@pytest.fixture
def produce(tmp_path: Path, ckpt: Any) -> Any:
    """Produce from these tensors; returns the description, the folder and the notes."""

    def run(state: dict[str, torch.Tensor], **changes: Any) -> tuple[Any, Path, list[str]]:
        progress: Any = Silent()
        folder = tmp_path / "folder"
        folder.mkdir()
        path = ckpt.file(tmp_path / "mine.ckpt", state)
        made = mindcv_source.produce(recipe_model(**changes), path, folder, progress)
        return made, folder, progress.notes

    return run


@pytest.mark.slow
def test_a_checkpoint_of_other_classes(produce: Any, state: dict[str, torch.Tensor]) -> None:
    training = {"global_step": torch.zeros(1), "ema.classifier.bias": torch.ones(7)}
    made, folder, notes = produce(state | training)
    assert made == read_description(folder)
    assert (made.source, made.architecture, made.num_classes) == ("mindcv", "inception_v4", 7)
    assert (made.preprocess.size, made.preprocess.interpolation) == (299, "bilinear")
    assert made.published is None, "it is not one of MindCV's own files"
    (note,) = notes
    assert "2 of the checkpoint's 749 tensors belong to the training" in note
    assert "1 of them averaged" in note
    loaded = load_model(folder).state_dict()
    for name, tensor in state.items():
        assert torch.equal(loaded[str(timm_name(name))], tensor), name


def test_tensors_that_do_not_fit(
    produce: Any, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    lacking = {k: v for k, v in state.items() if k != "features.3.branch_2.1.bn.moving_mean"}
    lacking["features.3.branch_2.1.bn.mean"] = torch.zeros(96)
    with pytest.raises(StageError) as caught:
        produce(lacking)
    assert "1 missing: features.8.branch2.1.bn.running_mean" in str(caught.value)
    assert "1 not of this model: features.3.branch_2.1.bn.mean" in str(caught.value)
    assert list((tmp_path / "folder").iterdir()) == []


def test_values_that_are_no_numbers(ckpt: Any, tmp_path: Path) -> None:
    path = ckpt.file(tmp_path / "w.ckpt", {"classifier.bias": torch.tensor([1.0, math.nan])})
    with pytest.raises(StageError, match=r"not finite numbers: 1 of 1 tensors: last_linear\.bias"):
        mindcv_source.read_mindcv(path, Silent())


def test_half_precision_becomes_float(ckpt: Any, tmp_path: Path) -> None:
    values = np.array([0.5, -3.0], "<f2")
    path = tmp_path / "w.ckpt"
    path.write_bytes(ckpt.value(b"classifier.bias", (2,), b"Float16", values.tobytes()))
    (tensor,) = mindcv_source.read_mindcv(path, Silent()).values()
    assert tensor.dtype == torch.float32 and tensor.tolist() == [0.5, -3.0]


def test_only_the_architecture_that_is_mapped() -> None:
    with pytest.raises(UsageError, match="has inception_v4 only, not 'resnet50'"):
        mindcv_source.missing(recipe_model(name="resnet50"), None)


def test_no_file(tmp_path: Path) -> None:
    (thing,) = mindcv_source.missing(recipe_model(), None)
    assert "needs a weights file of inception_v4" in thing.what
    assert "inception_v4-db9c45b3.ckpt" in thing.hint and "--weights" in thing.hint
    with pytest.raises(StageError, match="needs a weights file"):
        mindcv_source.identity(recipe_model(), None)
    (thing,) = mindcv_source.missing(recipe_model(), tmp_path / "absent.ckpt")
    assert "does not exist" in thing.what


def test_identity_is_the_content(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (b"1", b"1", b"2"), strict=True):
        path.write_bytes(content)
    one, copy, other = (mindcv_source.identity(recipe_model(), path) for path in paths)
    assert one == copy != other
    assert one != mindcv_source.identity(recipe_model(num_classes=3), paths[0])


@pytest.mark.slow
def test_it_is_the_model_of_mindspore(ckpt: Any, tmp_path: Path) -> None:
    """Where MindSpore and MindCV are installed: in this Python, or in that of MINDCV_PYTHON."""
    python = os.environ.get("MINDCV_PYTHON", sys.executable)
    asked = subprocess.run([python, "-c", "import mindspore, mindcv"], capture_output=True)
    if asked.returncode:
        pytest.skip("needs mindspore and mindcv (set MINDCV_PYTHON to a Python that has them)")
    program = [python, str(HERE / "mindcv_reference.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    names = dict(line.split(" ") for line in (tmp_path / "names.txt").read_text().splitlines())
    shapes = {name: "x".join(map(str, shape)) for name, shape in ckpt.shapes().items()}
    assert names == shapes
    folder = tmp_path / "folder"
    folder.mkdir()
    mindcv_source.produce(recipe_model(), tmp_path / "inception_v4.ckpt", folder, Silent())
    images, expected = np.load(tmp_path / "images.npy"), np.load(tmp_path / "logits.npy")
    with torch.inference_mode():
        logits = load_model(folder)(torch.from_numpy(images)).numpy()
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * scale, "images make no difference"
    assert np.abs(logits - expected).max() < 1e-5 * scale
