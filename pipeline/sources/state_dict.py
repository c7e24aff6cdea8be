"""Where the tensors are in what a weights file holds: training scripts wrap them in many ways."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    import torch

NOT_WEIGHTS = "give a .safetensors file, or a .pth, .pt or .bin file with a PyTorch state dict"
_NESTINGS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts put the tensors; averaged weights first, as timm's own loader has it."""
_DEPTH = 4
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Left by DataParallel, torch.compile and Lightning around a saved model, alone or together."""
_AVERAGED = "n_averaged"
"""What torch's AveragedModel counts beside the tensors."""


def tensors_by_name(loaded: object, path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of what a file holds, without the nestings and prefixes around them.

    Raises StageError, which names the file, where there is anything else than plain tensors.
    """
    import torch

    table = _unwrapped(loaded)
    if not isinstance(table, Mapping) or not table:
        what = "nothing" if isinstance(table, Mapping) else f"a {type(table).__name__}"
        raise StageError(
            f"this file holds {what}, not tensors by name", where=str(path), hint=NOT_WEIGHTS
        )
    for name, value in table.items():
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if not isinstance(name, str) or not plain or value.is_quantized:
            raise StageError(
                f"'{name}' in this file is no plain tensor but {_described(value)}",
                where=str(path),
                hint="save only the model's float weights: torch.save(model.state_dict(), …)",
            )
    state = {name: value.detach() for name, value in table.items() if name != _AVERAGED}
    while state and (prefix := next((p for p in _PREFIXES if _all_start(state, p)), None)):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _all_start(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _unwrapped(loaded: object) -> Any:
    table = loaded
    for _ in range(_DEPTH):  # a bound, because a pickled table may hold itself
        if not isinstance(table, Mapping):
            break
        table = next((table[k] for k in _NESTINGS if isinstance(table.get(k), Mapping)), table)
    return table


def _described(value: object) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return "a quantized tensor" if value.is_quantized else f"a {value.layout} tensor"
    return f"a {type(value).__name__}"
