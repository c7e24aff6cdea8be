"""The artifact of the `weights` stage: what is written is what is read."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.preprocess import Preprocess
from pipeline.errors import PipelineError, StageError
from pipeline.sources.model_folder import (
    ModelDescription,
    Origin,
    Published,
    load_model,
    read_description,
    save_model,
)
from pipeline.sources.timm_models import build

NAME = "test_resnet.r160_in1k"


def describe(**changes: Any) -> ModelDescription:
    fields: dict[str, Any] = {
        "architecture": NAME,
        "num_classes": 7,
        "preprocess": Preprocess(size=160, interpolation="bilinear", crop=0.95),
        "source": "timm",
        "origin": Origin(hub=f"timm/{NAME}", commit="c0ffee", file="model.safetensors"),
        "weights_sha256": "0" * 64,
        "parameters": 12,
        "published": Published(dataset="d", top1=0.8, top5=0.9, reference="r"),
    }
    return ModelDescription.model_validate(fields | changes)


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(3)
    return build(NAME, 7)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, model: torch.nn.Module) -> None:
    model.train()
    model(torch.randn(4, 3, 64, 64))  # so that the running statistics are no defaults
    any_model: Any = model
    any_model.to(memory_format=torch.channels_last)
    save_model(tmp_path, model.eval(), describe())
    loaded = load_model(tmp_path)
    assert not loaded.training
    assert read_description(tmp_path) == describe()
    state, again = model.state_dict(), loaded.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    image = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(model(image), loaded(image), atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, model: torch.nn.Module) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_model(tmp_path / name, model, describe())
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_tensors_that_share_memory(tmp_path: Path, model: Any) -> None:
    model.fc.bias.data = model.fc.weight.data[:, 0]
    save_model(tmp_path, model, describe())
    assert torch.equal(load_model(tmp_path).state_dict()["fc.bias"], model.fc.bias)


def test_the_description_is_read_without_torch(tmp_path: Path, model: torch.nn.Module) -> None:
    save_model(tmp_path, model, describe())
    program = (
        "import sys; from pathlib import Path\n"
        "from pipeline.sources.model_folder import read_description\n"
        f"print(read_description(Path({str(tmp_path)!r})).parameters)\n"
        "print({'torch', 'timm', 'numpy', 'huggingface_hub'} & set(sys.modules))"
    )
    root = Path(sys.modules["pipeline"].__file__ or "").parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["12", "set()"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "description is damaged"),
        ("{", "description is damaged"),
        ("[]", "description is damaged"),
        (json.dumps({"format": 2}), "damaged: format"),
        (describe().model_dump_json().replace("}", ', "new": 1}', 1), "damaged: preprocess.new"),
        (describe().model_dump_json().replace('"parameters":12', '"parameters":0'), "parameters"),
    ],
)
def test_a_damaged_description(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(StageError, match=says) as caught:
        read_description(tmp_path)
    assert caught.value.where.endswith("model.json")


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"cannot be read: No such file"):
        read_description(tmp_path)
    (tmp_path / "model.json").write_text(describe().model_dump_json())
    with pytest.raises(StageError, match="no such weights file"):
        load_model(tmp_path)


def test_files_that_do_not_belong_together(tmp_path: Path, model: torch.nn.Module) -> None:
    save_model(tmp_path, model, describe(num_classes=8))
    with pytest.raises(StageError, match="do not fit ResNet"):
        load_model(tmp_path)
    save_model(tmp_path, model, describe(architecture="test_resnt"))
    with pytest.raises(PipelineError, match="did you mean test_resnet"):
        load_model(tmp_path)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The kernel refuses to write files beyond `size` bytes, much as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [10, 100_000])
def test_a_disk_that_does_not_take_it(tmp_path: Path, model: torch.nn.Module, limit: int) -> None:
    with files_limited_to(limit), pytest.raises(StageError, match="could not be written") as caught:
        save_model(tmp_path, model, describe())
    assert "make room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path, model: torch.nn.Module) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="could not be written"):
        save_model(tmp_path / "file" / "below", model, describe())
