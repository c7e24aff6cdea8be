"""Reading weights files of every form, and refusing everything else."""

import argparse
import collections
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import StageError
from pipeline.sources.weights_file import load_into, read_weights

FORMS = ("safetensors", "zip", "old")


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))


def write(path: Path, state: Any, form: str) -> Path:
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    return path


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".bin", ""])
def test_every_form_under_every_ending(tmp_path: Path, form: str, ending: str) -> None:
    state = small().state_dict()
    path = write(tmp_path / f"weights{ending}", state, form)
    assert path.read_bytes()[:2] == {"zip": b"PK", "old": b"\x80\x02"}.get(
        form, path.read_bytes()[:2]
    )
    assert same(read_weights(path), dict(state))


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        lambda s: {"model": s, "optimizer": {"lr": 0.1}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"state_dict_ema": s, "state_dict": {k: v * 0 for k, v in s.items()}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        # Lightning, also around a compiled model.
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"state_dict": {f"model._orig_mod.{k}": v for k, v in s.items()}},
        # torchvision's training: torch's AveragedModel around the model.
        lambda s: {
            "model": {k: v * 0 for k, v in s.items()},
            "model_ema": {
                "n_averaged": torch.tensor(5),
                **{f"module.{k}": v for k, v in s.items()},
            },
        },
        collections.OrderedDict,
        lambda s: {k: nn.Parameter(v, requires_grad=v.is_floating_point()) for k, v in s.items()},
    ],
)
def test_nestings_are_unwrapped(tmp_path: Path, form: str, wrap: Any) -> None:
    state = small().state_dict()
    read = read_weights(write(tmp_path / "w.pth", wrap(state), form))
    assert same(read, dict(state))
    assert not any(tensor.requires_grad for tensor in read.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path, form: str) -> None:
    whole = write(tmp_path / "whole", small().state_dict(), form).read_bytes()
    path = tmp_path / "cut"
    lengths = {*range(0, 64), *range(64, len(whole), 97), *range(len(whole) - 12, len(whole))}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        with pytest.raises(StageError) as caught:
            read_weights(path)
        assert caught.value.where == str(path)
        assert caught.value.hint


@pytest.mark.parametrize("form", FORMS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    place=st.integers(0, 10**6), byte=st.integers(0, 255), where=st.sampled_from(["all", "head"])
)
def test_a_changed_byte_gives_tensors_or_a_clear_error(
    tmp_path: Path, form: str, place: int, byte: int, where: str
) -> None:
    content = bytearray(write(tmp_path / "w", small().state_dict(), form).read_bytes())
    content[place % (len(content) if where == "all" else 700)] = byte
    (tmp_path / "w").write_bytes(content)
    outcome: dict[str, torch.Tensor] | StageError
    try:
        outcome = read_weights(tmp_path / "w")
    except StageError as error:
        outcome = error
    if isinstance(outcome, StageError):
        assert outcome.where == str(tmp_path / "w")
    else:
        assert all(isinstance(value, torch.Tensor) for value in outcome.values())


class Payload:
    """Unpickles by running a shell command that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def test_executable_pickle_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = {"weight": torch.zeros(2), "x": Payload(mark)}
    files = [write(tmp_path / f"{form}.pth", evil, form) for form in ("zip", "old")]
    bare = tmp_path / "bare.pkl"
    bare.write_bytes(pickle.dumps(Payload(mark)))
    for path, name in ((files[0], "system"), (files[1], "system"), (bare, "")):
        with pytest.raises(StageError, match=rf"executable pickle .*{name}.* never run") as caught:
            read_weights(path)
        assert "state_dict()" in caught.value.hint
        assert not mark.exists()
    pickle.loads(bare.read_bytes())
    assert mark.exists()  # the payload works where it is let


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    for form in ("zip", "old"):
        with pytest.raises(StageError, match=r"executable pickle .*Sequential"):
            read_weights(write(tmp_path / form, small(), form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(
    tmp_path: Path, form: str, dtype: torch.dtype, value: float
) -> None:
    bad = torch.zeros(3, 3, dtype=dtype)
    bad[1, 2] = value
    path = write(tmp_path / "w", {"good": torch.ones(2), "bad": bad}, form)
    with pytest.raises(StageError, match="not finite numbers: 1 of 2 tensors: bad"):
        read_weights(path)


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x00" * 100, "not a weights file"),
        (b"\x80", "not a weights file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <HTML>", "web page"),
        (b"\x1c\x00\x00\x00TFL3", "not a weights file"),
        (pickle.dumps([1, 2], 2), "damaged"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(StageError) as caught:
        read_weights(path)
    assert says in str(caught.value)
    assert caught.value.hint


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    _zip(path, "weights.pth", "readme")
    with pytest.raises(StageError, match=re.escape("it holds weights.pth, readme")):
        read_weights(path)
    _zip(path, "archive/data.pkl")
    with pytest.raises(StageError, match="damaged"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_program(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(small()), tmp_path / "w.pt")
    with pytest.raises(StageError, match="TorchScript"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
        ({}, "holds nothing"),
        ({"epoch": 3}, "'epoch' in this file is no plain tensor but a int"),
        ({1: torch.zeros(1)}, "'1' in this file"),
        ({"w": torch.eye(2).to_sparse()}, "sparse"),
    ],
)
def test_files_with_other_things_than_tensors(tmp_path: Path, held: Any, says: str) -> None:
    with pytest.raises(StageError) as caught:
        read_weights(write(tmp_path / "w.pth", held, "zip"))
    assert says in str(caught.value)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_quantized_tensor(tmp_path: Path) -> None:
    held = {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}
    with pytest.raises(StageError, match="no plain tensor but a quantized tensor"):
        read_weights(write(tmp_path / "w.pth", held, "zip"))


def test_a_table_that_holds_itself_ends(tmp_path: Path) -> None:
    table: dict[str, Any] = {}
    table["model"] = table
    with pytest.raises(StageError, match="'model' in this file"):
        read_weights(write(tmp_path / "w.pth", table, "zip"))


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such weights file"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(StageError, match="a folder"):
        read_weights(tmp_path)


def test_loading_copies_everything(tmp_path: Path) -> None:
    state = {name: tensor + 1 for name, tensor in small().state_dict().items()}
    model = small()
    load_into(model, state, "here")
    assert same(model.state_dict(), state)


def test_loading_casts_half_precision_and_old_batch_norms() -> None:
    state = {k: v.half() for k, v in small().state_dict().items() if "tracked" not in k}
    model = nn.Sequential(*small().children())
    load_into(model, state, "here")
    assert all(torch.equal(model.state_dict()[name], state[name].float()) for name in state)
    assert model.state_dict()["0.weight"].dtype == torch.float32


def test_loading_says_which_tensors_do_not_fit() -> None:
    state = dict(small().state_dict())
    del state["0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["1.weight"] = torch.zeros(7)
    state["1.bias"] = torch.zeros(4, dtype=torch.int8)
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(StageError) as caught:
        load_into(model, state, "some.pth")
    text = str(caught.value)
    assert text.startswith("some.pth: these weights do not fit Sequential: ")
    assert "1 missing: 0.bias" in text
    assert "1 not of this model: extra.weight" in text
    assert "2 of another shape or type: 1.weight (float32 [7], not float32 [4])" in text
    assert "1.bias (int8 [4], not float32 [4])" in text
    assert same(model.state_dict(), before)


def test_loading_of_another_number_of_classes() -> None:
    other = small()
    other[3] = nn.Linear(4, 9)
    with pytest.raises(StageError, match=r"has 9 classes, set model.num_classes: 9"):
        load_into(small(), other.state_dict(), "some.pth")


def test_loading_of_another_architecture() -> None:
    other = nn.ModuleDict({f"layer{i}": nn.Linear(2, 2) for i in range(9)})
    with pytest.raises(StageError) as caught:
        load_into(small(), other.state_dict(), "some.pth")
    text = str(caught.value)
    assert "18 not of this model: layer0.weight, layer0.bias, layer1.weight, layer1.bias, …" in text
    assert "looks like another architecture: set model.name" in text
