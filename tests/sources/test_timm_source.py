"""Source `timm`: from the hub (the real client, a server on loopback) and from a file."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from pipeline.errors import StageError, UsageError
from pipeline.progress import Silent
from pipeline.recipe import Model
from pipeline.sources import timm_source
from pipeline.sources.model_folder import load_model, read_description
from pipeline.sources.timm_models import build

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "test_resnet.r160_in1k"
MODEL = {"source": "timm", "name": NAME}
MISSING = {"do": "missing", "model": MODEL}


def recipe_model(**changes: Any) -> Model:
    return Model.model_validate(MODEL | changes)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return dict(build(NAME, 1000).state_dict())


@pytest.fixture
def produce(tmp_path: Path) -> Any:
    """Produce from a file into a new folder; returns the description, the folder and the notes."""

    def run(model: Model, weights: Path) -> tuple[Any, Path, list[str]]:
        progress: Any = Silent()
        folder = tmp_path / "folder"
        folder.mkdir()
        made = timm_source.produce(model, weights, folder, progress)
        assert read_description(folder) == made
        return made, folder, progress.notes

    return run


def same(folder: Path, state: dict[str, torch.Tensor]) -> bool:
    loaded = load_model(folder).state_dict()
    return all(torch.equal(loaded[name], state[name]) for name in state)


def test_from_the_hub(hub: Any, ask: Any, tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    content = save(state)
    hub.files = {f"timm/{NAME}/model.safetensors": content}
    folder = tmp_path / "folder"
    folder.mkdir()
    make = {"do": "produce", "model": MODEL, "folder": str(folder)}
    before, made, after = ask(MISSING, make, MISSING)
    assert before["value"] == after["value"] == []
    assert before["heavy"] == []
    sha256 = hashlib.sha256(content).hexdigest()
    description = read_description(folder)
    assert made["value"] == description.model_dump(mode="json")
    assert description.architecture == NAME
    assert description.num_classes == 1000
    assert description.weights_sha256 == sha256
    assert description.origin.hub == f"timm/{NAME}"
    assert description.origin.commit == COMMIT
    assert description.parameters == 469_688
    assert (description.preprocess.size, description.preprocess.crop) == (160, 0.95)
    assert same(folder, state)
    # Later without the hub, and only with the digest the recipe demands.
    wrong = make | {"model": MODEL | {"sha256": "1" * 64}}
    offline, again, refused = ask(MISSING, make, wrong, HF_HUB_OFFLINE="1")
    assert offline["value"] == [] and offline["heavy"] == []
    assert again["value"] == made["value"]
    assert refused["error"] == "StageError"
    assert f"its sha256 is {sha256}" in refused["text"]


def test_what_is_missing_is_said_without_torch(hub: Any, ask: Any) -> None:
    (offline,) = ask(MISSING, HF_HUB_OFFLINE="1")
    hub.status = {f"timm/{NAME}": (503, "")}
    (trouble,) = ask(MISSING)
    for answer, says in ((offline, "HF_HUB_OFFLINE"), (trouble, "503")):
        ((what, hint),) = answer["value"]
        assert what.startswith(f"the weights of {NAME}: ")
        assert says in what
        assert "WEIGHTS=file" in hint
        assert "make demo" in hint
        assert answer["heavy"] == []


def test_a_name_the_hub_does_not_know_is_looked_up_in_timm(hub: Any, ask: Any) -> None:
    hub.files = {
        "naver-ai/rdnet_tiny.nv_in1k/model.safetensors": b"x",
        f"timm/{NAME}/model.safetensors": b"x",
    }
    names = (
        "rdnet_tiny.nv_in1k",
        "test_resnet",
        "inceptionv4.tf_in1k",
        "mobilenetv2_100.ra_in1k",
        "legacy_xception.tf_in1k",
    )
    steps = [{"do": "missing", "model": {"source": "timm", "name": name}} for name in names]
    other_owner, untagged, unknown, absent, elsewhere = ask(*steps)
    assert other_owner["value"] == []
    assert untagged["value"] == []
    assert unknown["error"] == "UsageError"
    assert "did you mean inception_v4" in unknown["text"]
    ((what, _),) = absent["value"]
    assert "no such repository" in what
    ((what, hint),) = elsewhere["value"]
    assert "publishes no weights of legacy_xception.tf_in1k on the hub" in what
    assert "WEIGHTS=file" in hint


def test_from_a_file(tmp_path: Path, produce: Any, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    model = recipe_model()
    assert timm_source.missing(model, path) == []
    made, folder, notes = produce(model, path)
    assert made.origin.model_dump(exclude_none=True) == {"file": "mine.pth"}
    assert made.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made.published is None  # unknown of a file
    assert notes == []
    assert same(folder, state)


def test_a_background_class_is_left_out(
    tmp_path: Path, produce: Any, state: dict[str, torch.Tensor]
) -> None:
    wide = dict(state)
    for name in ("fc.weight", "fc.bias"):
        wide[name] = torch.cat([torch.full_like(state[name][:1], 9.0), state[name]])
    path = tmp_path / "w.safetensors"
    save_file(wide, path)
    made, folder, notes = produce(recipe_model(), path)
    assert made.num_classes == 1000
    assert "background class and left out" in notes[0]
    assert same(folder, state)


def test_a_background_class_is_kept_where_the_recipe_wants_it(tmp_path: Path, produce: Any) -> None:
    wide = build(NAME, 1001).state_dict()
    path = tmp_path / "w.safetensors"
    save_file(wide, path)
    made, folder, notes = produce(recipe_model(num_classes=1001), path)
    assert made.num_classes == 1001
    assert notes == []
    assert same(folder, dict(wide))


def test_a_file_with_another_number_of_classes(tmp_path: Path, produce: Any) -> None:
    path = tmp_path / "w.safetensors"
    save_file(build(NAME, 12).state_dict(), path)
    with pytest.raises(StageError, match=r"set model.num_classes: 12"):
        produce(recipe_model(), path)


def test_a_file_of_another_architecture(tmp_path: Path, produce: Any) -> None:
    path = tmp_path / "w.safetensors"
    save_file(build("test_vit", 1000).state_dict(), path)
    with pytest.raises(StageError, match="looks like another architecture") as caught:
        produce(recipe_model(), path)
    assert caught.value.where == str(path)
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_file_other_than_the_recipe_demands(
    tmp_path: Path, produce: Any, state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    with pytest.raises(StageError, match="not the file the recipe demands"):
        produce(recipe_model(sha256="0" * 64), path)


def test_an_unknown_name_is_refused_before_anything_is_read(tmp_path: Path, produce: Any) -> None:
    with pytest.raises(UsageError, match="did you mean test_resnet"):
        produce(recipe_model(name="test_resnt"), tmp_path / "not there")


def test_local_files_in_the_preflight(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pth"
    empty.touch()
    for path, says in (
        (tmp_path / "absent.pth", "does not exist"),
        (tmp_path, "is a folder"),
        (empty, "is empty"),
    ):
        (thing,) = timm_source.missing(recipe_model(), path)
        assert says in thing.what
        assert str(path) in thing.what
        assert "--weights" in thing.hint


def test_identity_changes_with_what_decides_and_with_nothing_else(tmp_path: Path) -> None:
    one, copy, two = (tmp_path / name for name in ("one.pth", "copy.bin", "two.pth"))
    for path, content in ((one, b"1"), (copy, b"1"), (two, b"2")):
        path.write_bytes(content)
    model = recipe_model()
    assert timm_source.identity(model, one) == timm_source.identity(model, copy)
    distinct = [
        timm_source.identity(model, one),
        timm_source.identity(model, two),
        timm_source.identity(recipe_model(num_classes=3), one),
        timm_source.identity(model, None),
        timm_source.identity(recipe_model(revision="abc"), None),
        timm_source.identity(recipe_model(sha256="0" * 64), None),
        timm_source.identity(recipe_model(name="test_vit"), None),
    ]
    assert all(a != b for i, a in enumerate(distinct) for b in distinct[:i])
    assert timm_source.identity(model, None) == timm_source.identity(
        recipe_model(revision="main"), None
    )
    with pytest.raises(StageError, match="cannot be read"):
        timm_source.identity(model, tmp_path / "absent")


def test_published_accuracies_are_fractions_of_known_names() -> None:
    published = timm_source.PUBLISHED["inception_v4.tf_in1k"]
    assert (published.top1, published.top5) == (0.80144, 0.94982)
    assert all(entry.top1 < entry.top5 < 1 for entry in timm_source.PUBLISHED.values())
