"""A PyTorch model as canonical Graph, and what is said where it cannot be one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.errors import StageError
from pipeline.graph.tracing import graph_of_module, trace


class Apply(nn.Module):
    """A function as a module of a larger model."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def test_average_pools_do_not_count_their_padding() -> None:
    """As Inception has them."""
    pools = Apply(lambda x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
    graph = ir.to_proto(graph_of_module(pools, 8)).graph
    [pool] = [n for n in graph.node if n.op_type == "AveragePool"]
    attributes = {a.name: a for a in pool.attribute}
    assert "count_include_pad" not in attributes or attributes["count_include_pad"].i == 0
    assert list(attributes["pads"].ints) == [1, 1, 1, 1]


def test_an_operator_without_a_form(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One error that says where, and none of what the exporter prints."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Apply(lambda x: torch.fft.fft2(x).real))
    with pytest.raises(StageError) as caught:
        trace(model.eval(), 8, tmp_path / "m.onnx")
    assert caught.value.what == (
        "PyTorch cannot export this model to ONNX opset 13: there is no form of aten::fft_fft2, "
        "which module 1 uses"
    )
    assert "model: {source: onnx}" in caught.value.hint
    print("what is printed afterwards is seen")
    assert capfd.readouterr() == ("what is printed afterwards is seen\n", "")


PROGRAM = """
import sys
from pathlib import Path
import torch
from torch import nn
from pipeline.errors import StageError
from pipeline.graph.tracing import trace

class Model(nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            print("of the model itself")
        return torch.fft.fft2(x).real

print("before")
try:
    trace(nn.Sequential(Model()), 8, Path(sys.argv[1]))
except StageError as error:
    print(error.what)
"""


def test_nothing_is_printed_to_a_pipe_either(tmp_path: Path) -> None:
    """Where `--json` goes to a file; PYTHONUNBUFFERED would have C write at once, too."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "m.onnx")],
        env=clean, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == (
        "before\nPyTorch cannot export this model to ONNX opset 13: there is no form of "
        "aten::fft_fft2, which module 0 uses\n"
    )


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            lambda x: functional.adaptive_avg_pool2d(x, (3, 3)),
            "ONNX export of operator adaptive_avg_pool2d, output size that are not factor of input size",
        ),
        (
            lambda x: functional.batch_norm(x, None, None, training=True),
            "batch_size and channel_size must be non-None",
        ),
    ],
)
def test_other_reasons_are_the_exporters_own(
    function: Callable[[torch.Tensor], torch.Tensor], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(StageError) as caught:
        trace(Apply(function), 8, tmp_path / "m.onnx")
    assert caught.value.what.endswith(reason)


def test_images_of_a_size_that_the_model_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        trace(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), 9, tmp_path / "m.onnx")
    assert str(caught.value).startswith(
        "data.preprocess.size: the model cannot take images of 9x9: mat1 and mat2 shapes cannot"
    )
