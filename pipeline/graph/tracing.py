"""A PyTorch classifier as canonical Graph, by tracing.

The dynamo exporter delivers opset 18 whatever it is told, which the SyNAP toolkit does not read; the
older one keeps 13, GlobalAveragePool and count_include_pad=0. It prints the whole traced model where
it fails; of that, the module that the operator belongs to is kept for the error.
"""

import ctypes
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.graph.canonical import OPSET

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

_UNSUPPORTED = re.compile(r"Exporting the operator '(?P<operator>[\w:]+)' to ONNX")
_ADVICE = re.compile(r"(\. Please feel free| +\[Caused by).*")
"""What the exporter puts behind a reason, for its own developers."""


def graph_of_module(model: "torch.nn.Module", size: int) -> "ir.Model":
    """The model for images of `size`, in eval mode, as canonical Graph without a preprocessing.

    Raises StageError if it does not take such images, or has no form in opset 13.
    """
    from pipeline.graph.batch_shapes import make_static
    from pipeline.graph.canonical import canonicalize
    from pipeline.graph.file import load_graph

    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.onnx"
        trace(model, size, traced)
        graph = load_graph(traced)
    make_static(graph)
    canonicalize(graph)
    return graph


def trace(model: "torch.nn.Module", size: int, path: Path) -> None:
    """Write the model as ONNX of opset 13 with a free batch. Raises as `graph_of_module` does."""
    import torch

    module: Any
    for module in model.modules():
        if hasattr(module, "fused_attn"):  # timm's switch; the fused operator needs opset 14
            module.fused_attn = False
    _require_size(model, size)
    with warnings.catch_warnings(), _standard_output_aside() as printed:
        warnings.simplefilter("ignore")  # that tracing is the older exporter is known, see above
        try:
            torch.onnx.export(
                model,
                (torch.zeros(2, 3, size, size),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            )
        except Exception as error:  # the exporter's and the model's own, of any class
            raise StageError(
                f"PyTorch cannot export this model to ONNX opset {OPSET}: "
                + _reason(error, printed()),
                hint="write that part in other operators, or export the model yourself and give it "
                "as `model: {source: onnx}`",
            ) from error


@contextmanager
def _standard_output_aside() -> Iterator[Callable[[], str]]:
    """Keep back what is printed until the end, by PyTorch's compiled code, too; what it was so far."""
    with tempfile.TemporaryFile() as file:
        _flush()
        own = os.dup(1)
        os.dup2(file.fileno(), 1)

        def printed() -> str:
            _flush()
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield printed
        finally:
            try:
                _flush()
            finally:
                os.dup2(own, 1)
                os.close(own)


def _flush() -> None:
    """Write what Python and C have printed so far: where that goes to no terminal, both hold it back
    until there is much of it."""
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)


def _require_size(model: "torch.nn.Module", size: int) -> None:
    import torch

    try:
        with torch.inference_mode():
            model(torch.zeros(2, 3, size, size))
    except Exception as error:  # whatever the model's own code raises
        raise StageError(
            f"the model cannot take images of {size}x{size}: {_first_line(error)}",
            where="data.preprocess.size",
            hint="leave data.preprocess out for the size it was made for, or give one that it takes",
        ) from error


def _reason(error: Exception, printed: str) -> str:
    """The operator and the module it is in, where the exporter says so; else its own first line."""
    unsupported = _UNSUPPORTED.match(str(error))
    if unsupported is None:
        return _ADVICE.sub("", _first_line(error))
    operator = unsupported["operator"]
    scope = re.search(rf"= {operator}\(.*?\), scope: (\S+)", printed)
    names = [part.rpartition("::")[2] for part in scope[1].split("/")] if scope else []
    module = "/".join(name for name in names if name)
    return f"there is no form of {operator}" + (f", which module {module} uses" if module else "")


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
