"""Weights files of the common forms, read without ever running what is in them.

safetensors, and PyTorch's two pickled forms: the zip archive since 1.6 and the bare pickle before
it. The form is told by content, because endings lie. Pickles are read by torch's restricted
unpickler (`weights_only=True`), which builds tensors and plain containers and nothing else.
"""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.errors import StageError
from pipeline.sources.state_dict import NOT_WEIGHTS, tensors_by_name

if TYPE_CHECKING:
    import torch
    from torch import nn

Form = Literal["safetensors", "zip", "pickle", "other pickle"]
_TORCH_PICKLE = b"\x80\x02"
"""PyTorch writes pickle protocol 2; others are written by other means, and rarely readable."""
_OTHER_PICKLES = tuple(bytes([0x80, number]) for number in range(3, pickle.HIGHEST_PROTOCOL + 1))
_HEAD = 512
_SHOWN = 4
_HEADER_LIMIT = 100_000_000
"""safetensors' own limit of its header, in bytes."""
_DAMAGED = "get the file again, and compare its size with the original's"


def read_weights(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a weights file by name, on the CPU, in the types they are stored in.

    Unwraps the usual nestings and the prefixes of wrapped models. Raises StageError that names the
    file if it is absent, empty, cut short, damaged, of another kind, holds pickled objects that
    would have to be executed, or holds a value that is not a finite number.
    """
    form = _form_of(path)
    loaded = _read_safetensors(path) if form == "safetensors" else _read_pickled(path, form)
    state = tensors_by_name(loaded, path)
    require_finite(state, path)
    return state


def load_into(model: "nn.Module", state: "Mapping[str, torch.Tensor]", where: str) -> None:
    """Copy all tensors into the model, which must have exactly these.

    `where` names the file in errors. Only a batch norm's `num_batches_tracked`, which inference
    does not use and files from before PyTorch 0.4.1 lack, may be absent. Raises StageError that
    says which tensors are missing, left over or of another shape.
    """
    own = model.state_dict()
    missing = [
        name for name in own if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in own]
    common = [name for name in own if name in state]
    unfit = [name for name in common if not _fits(own[name], state[name])]
    if missing or unexpected or unfit:
        details = [
            *_counted(missing, "missing"),
            *_counted(unexpected, "not of this model"),
            *_counted(
                [f"{name} ({_form(state[name])}, not {_form(own[name])})" for name in unfit],
                "of another shape or type",
            ),
        ]
        kind = type(model).__name__
        raise StageError(
            f"these weights do not fit {kind}: " + "; ".join(details),
            where=where,
            hint=_advice(kind, own, state, len(common) - len(unfit), unfit),
        )
    model.load_state_dict(dict(state))


def _fits(own: "torch.Tensor", given: "torch.Tensor") -> bool:
    # A float parameter silently takes integers: those of a quantized file would be nonsense.
    floats_agree = own.is_floating_point() == given.is_floating_point()
    return own.shape == given.shape and floats_agree


def _form(tensor: "torch.Tensor") -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _counted(names: list[str], what: str) -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return [f"{len(names)} {what}: {shown}"]


def _advice(
    kind: str,
    own: "Mapping[str, torch.Tensor]",
    state: "Mapping[str, torch.Tensor]",
    fitting: int,
    unfit: list[str],
) -> str:
    if fitting < len(own) / 2:
        return (
            f"only {fitting} of the model's {len(own)} tensors are in the file, so it looks like "
            f"another architecture: set model.name to what it was trained as, or give a file of "
            f"{kind}"
        )
    rows = {(state[name].shape[:1], own[name].shape[:1]) for name in unfit if own[name].ndim}
    if len(rows) == 1 and len(unfit) <= 2:
        (given, wanted), *_ = rows
        if given and wanted and given != wanted:
            return f"if the file has {given[0]} classes, set model.num_classes: {given[0]}"
    return "give a file saved from exactly this architecture (its whole state dict)"


def _form_of(path: Path) -> Form:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except FileNotFoundError:
        hint = "check the path (WEIGHTS=, --weights or model.weights)"
        raise StageError("there is no such weights file", where=str(path), hint=hint) from None
    except IsADirectoryError:
        hint = "give the weights file inside it"
        raise StageError(
            "this is a folder, not a weights file", where=str(path), hint=hint
        ) from None
    except OSError as error:
        raise StageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    text = head.lstrip().lower()
    header = int.from_bytes(head[:8], "little")
    if not head:
        raise StageError("the weights file is empty", where=str(path), hint=_DAMAGED)
    if head.startswith(b"version https://git-lfs"):
        raise StageError(
            "this is a Git LFS pointer, not the weights themselves",
            where=str(path),
            hint="fetch the real file with `git lfs pull`",
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise StageError(
            "this is a web page, so the download of the weights went wrong",
            where=str(path),
            hint="download the file itself, not the page about it",
        )
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(_TORCH_PICKLE):
        return "pickle"
    if head.startswith(_OTHER_PICKLES):
        return "other pickle"
    if head[8:9] == b"{" and 2 <= header <= _HEADER_LIMIT:
        return "safetensors"
    raise StageError("this is not a weights file", where=str(path), hint=NOT_WEIGHTS)


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise _damaged(path, error) from error


def _read_pickled(path: Path, form: Form) -> object:
    import torch

    if form == "zip":
        _require_torch_archive(path)
    try:
        # The stream, not the path: by a path torch would go by the ending. timm's training
        # script saves its command line as argparse.Namespace, which holds data only.
        with (
            path.open("rb") as stream,
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals([argparse.Namespace]),
        ):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None and form != "other pickle":
            raise _damaged(path, error) from error
        name = found[1] if found else "more than tensors"
        raise StageError(
            f"this file holds executable pickle (it asks for {name}), which is never run here",
            where=str(path),
            hint="where you trust the file, save its bare tensors again and use those: "
            "torch.save(model.state_dict(), 'weights.pth')",
        ) from error
    except Exception as error:
        # torch's reader meets damaged bytes as whatever exception they happen to provoke.
        if "TorchScript" in str(error):
            raise StageError(
                "this is a TorchScript program, not weights",
                where=str(path),
                hint="save the model's state_dict() instead",
            ) from error
        raise _damaged(path, error) from error


def _require_torch_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    if not any(name.split("/")[-1] == "data.pkl" for name in names):
        shown = ", ".join(names[:3]) or "nothing"
        raise StageError(
            f"this zip archive is no weights file (it holds {shown})",
            where=str(path),
            hint=NOT_WEIGHTS,
        )


def _damaged(path: Path, error: Exception) -> StageError:
    # torch wraps its reason in pages of advice about weights_only.
    reason = str(error).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
    if reason.startswith("Unsupported operand"):
        reason = "or pickled by a protocol above 2, which is not read"
    return StageError(
        f"the weights file is damaged or cut short ({reason.splitlines()[0].split('. ')[0][:160]})",
        where=str(path),
        hint=_DAMAGED,
    )


def require_finite(state: "Mapping[str, torch.Tensor]", path: Path) -> None:
    """Raise StageError that names the tensors of `path` with values that are not finite."""
    import torch

    bad = []
    for name, tensor in state.items():
        if tensor.is_floating_point() or tensor.is_complex():
            # torch has no isfinite for the 8-bit floats.
            values = tensor.float() if tensor.element_size() == 1 else tensor
            if not bool(torch.isfinite(values).all()):
                bad.append(name)
    if bad:
        raise StageError(
            "this file holds values that are not finite numbers: "
            + "; ".join(_counted(bad, f"of {len(state)} tensors")),
            where=str(path),
            hint="the training diverged or the file was damaged: give other weights",
        )
