"""Source `checkpoint`: a local file for an architecture, with any number of classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import StageError, UsageError
from pipeline.progress import Silent
from pipeline.recipe import Model
from pipeline.sources import checkpoint_source
from pipeline.sources.model_folder import load_model
from pipeline.sources.timm_models import build


def recipe_model(**changes: Any) -> Model:
    return Model.model_validate({"source": "checkpoint", "name": "test_resnet"} | changes)


def produce(model: Model, weights: Path | None, folder: Path) -> tuple[Any, list[str]]:
    progress: Any = Silent()
    folder.mkdir(exist_ok=True)
    return checkpoint_source.produce(model, weights, folder, progress), progress.notes


def test_the_number_of_classes_is_that_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = build("test_resnet", 17).state_dict()
    path = tmp_path / "mine.bin"
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 1}, path)
    made, notes = produce(recipe_model(), path, tmp_path / "folder")
    assert (made.num_classes, made.architecture, made.origin.file) == (17, "test_resnet", path.name)
    assert made.preprocess.size == 160
    assert notes == []
    loaded = load_model(tmp_path / "folder").state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize(("stated", "expected"), [(None, 1000), (1000, 1000), (1001, 1001)])
def test_tensorflows_background_class(tmp_path: Path, stated: int | None, expected: int) -> None:
    state = build("test_resnet", 1001).state_dict()
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    made, notes = produce(recipe_model(num_classes=stated), path, tmp_path / "folder")
    assert made.num_classes == expected
    assert len(notes) == (expected == 1000)
    loaded = load_model(tmp_path / "folder").state_dict()
    assert torch.equal(loaded["fc.weight"], state["fc.weight"][1001 - expected :])


def test_a_file_without_the_classifier(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(build("test_vit", 5).state_dict(), path)
    with pytest.raises(StageError, match=r"no tensor fc\.weight, which is the classifier"):
        produce(recipe_model(), path, tmp_path / "folder")


def test_a_classifier_of_another_name(tmp_path: Path) -> None:
    state = build("test_resnet", 5).state_dict()
    renamed = {name.replace("fc.", "my_head."): tensor for name, tensor in state.items()}
    path = tmp_path / "w.pth"
    torch.save(renamed, path)
    with pytest.raises(StageError, match=r"no tensor fc\.weight") as caught:
        produce(recipe_model(), path, tmp_path / "folder")
    assert caught.value.hint == (
        "the file's last matrix is my_head.weight, of 5 rows; if that is the classifier, save it as "
        "fc.weight"
    )
    with pytest.raises(
        StageError, match=r"2 missing: fc\.weight, .*; 2 not of this model: my_head"
    ):
        produce(recipe_model(num_classes=5), path, tmp_path / "folder")


def test_another_number_of_classes_than_the_recipes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(build("test_resnet", 5).state_dict(), path)
    with pytest.raises(
        StageError, match=r"fc\.weight \(float32 \[5, .*\], not float32 \[7"
    ) as caught:
        produce(recipe_model(num_classes=7), path, tmp_path / "folder")
    assert "set model.num_classes: 5" in caught.value.hint


@pytest.mark.parametrize("form", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(tmp_path: Path, form: torch.dtype) -> None:
    state = build("test_resnet", 5).state_dict()
    kept = {n: t.to(form) if t.is_floating_point() else t for n, t in state.items()}
    save_file(kept, tmp_path / "w.safetensors")
    produce(recipe_model(), tmp_path / "w.safetensors", tmp_path / "folder")
    loaded = load_model(tmp_path / "folder").state_dict()
    assert all(torch.equal(loaded[name], kept[name].to(state[name].dtype)) for name in state)


def test_a_model_saved_whole(tmp_path: Path) -> None:
    """A pickle of a module is never run, whatever is in it."""
    torch.save(build("test_resnet", 5), tmp_path / "w.pt")
    with pytest.raises(StageError, match=r"executable pickle .* never run") as caught:
        produce(recipe_model(), tmp_path / "w.pt", tmp_path / "folder")
    assert "torch.save(model.state_dict()" in caught.value.hint


def test_no_file() -> None:
    (thing,) = checkpoint_source.missing(recipe_model(), None)
    assert "needs a weights file of test_resnet" in thing.what
    assert "--weights" in thing.hint
    with pytest.raises(StageError, match="needs a weights file"):
        checkpoint_source.identity(recipe_model(), None)


def test_an_unknown_architecture(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    with pytest.raises(UsageError, match="did you mean"):
        produce(recipe_model(name="test_resnat"), tmp_path / "w", tmp_path / "folder")


def test_identity_is_the_content(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (b"1", b"1", b"2"), strict=True):
        path.write_bytes(content)
    one, copy, other = (checkpoint_source.identity(recipe_model(), path) for path in paths)
    assert one == copy != other
