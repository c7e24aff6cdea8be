"""What PyTorch computes from the size of the batch is static, and any batch size gives the same."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.graph.session import session_of
from pipeline.graph.tracing import graph_of_module

SIZE = 8


class Net(nn.Module):
    """From an image to tokens `[N, 16, 6]`, through `between`, to two logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.second = nn.Parameter(torch.randn(1, 2, 6))
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.between(tokens).mean(1))

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x


class ClassTokens(Net):
    """Constants in front and behind, as vision transformers have them."""

    def between(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[0]
        x = torch.cat([self.token.expand(size, -1, -1), x, self.second.expand(size, -1, -1)], dim=1)
        x = torch.cat([self.token.expand(size, -1, -1), x.relu()], dim=1)
        return x * torch.arange(1.0, 21.0).reshape(20, 1)


class Windows(Net):
    """As Swin: windows take the place of images, and images that of windows again."""

    def between(self, x: torch.Tensor) -> torch.Tensor:
        size, _, channels = x.shape
        x = x.reshape(size, 4, 4, channels).roll(1, 1).reshape(size, 2, 2, 2, 2, channels)
        x = x.transpose(2, 3).reshape(-1, 4, channels)
        x = x - x.mean(1, keepdim=True) * 2
        x = x.view(x.shape[0] // 4, 4, 4, channels) * torch.arange(4.0).reshape(4, 1, 1)
        return x.view(-1, 16, channels)


class LeftOver(Net):
    """As MobileViT: the first side grows with the batch, and another is what is left."""

    def between(self, x: torch.Tensor) -> torch.Tensor:
        size, _, channels = x.shape
        x = x.transpose(1, 2).reshape(size * channels * 4, -1, 2, 2).transpose(1, 2)
        return (
            x.reshape(size, channels, -1, 4).cumsum(2).reshape(size, channels, -1).transpose(1, 2)
        )


class Positions(Net):
    """As EdgeNeXt: positions are counted anew for every image, and lengths are made 1."""

    def between(self, x: torch.Tensor) -> torch.Tensor:
        counted = torch.ones(x.shape[:2]).cumsum(1)[..., None]
        return functional.normalize(x + torch.sin(counted), dim=2)


class Folded(Net):
    """What depends on the batch otherwise has no form of any batch size, and stays."""

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.shape[0]


STATIC = {
    ClassTokens: {"Pad": 2, "Add": 2},
    Windows: {"Reshape": 6},
    LeftOver: {"Reshape": 4},
    Positions: {"Add": 1, "Expand": 1},
}


def logits_of(graph: ir.Model, images: np.ndarray) -> np.ndarray:
    made: np.ndarray = session_of(graph, 1).run(None, {"input": images})[0]
    return made


@pytest.mark.parametrize("kind", [*STATIC, Folded])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size_gives_the_models_logits(kind: type[Net], batch: int) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    images = torch.randn(batch, 3, SIZE, SIZE)
    with torch.inference_mode():
        expected = model(images).numpy()
    made = logits_of(graph_of_module(model, SIZE), images.numpy())
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", STATIC)
def test_nothing_is_computed_from_sizes(kind: type[Net]) -> None:
    kinds = Counter(node.op_type for node in graph_of_module(kind().eval(), SIZE).graph)
    assert not set(kinds) & {"Shape", "Gather", "ConstantOfShape", "Range", "Sin", "Where"}
    assert {name: kinds[name] for name in STATIC[kind]} == STATIC[kind]


def test_what_depends_on_the_batch_otherwise_stays() -> None:
    kinds = {node.op_type for node in graph_of_module(Folded().eval(), SIZE).graph}
    assert "Shape" in kinds
