"""The proof finds what it is there to find: a border that is padded on the wrong side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.file import save_graph, set_preprocess
from pipeline.lift.proof import prove_same, with_output
from pipeline.lift.subgraph import read_subgraph

VIEW = Preprocess(size=32)


@dataclass
class Pair:
    """A file, the number of its logits' tensor, and its Graph."""

    content: bytes
    logits: int
    graph: Path

    def prove(self) -> float:
        return prove_same(self.content, self.logits, self.graph, VIEW, 1, "m.tflite")


@pytest.fixture
def pair(nets: Any, tmp_path: Path) -> Pair:
    content = nets.mobile_net()
    graph = nets.lifted(content)
    set_preprocess(graph, VIEW)
    save_graph(graph, tmp_path / "m.onnx")
    return Pair(content, read_subgraph(content, "").outputs[0].index, tmp_path / "m.onnx")


def test_the_same_function(pair: Pair) -> None:
    assert 0 < pair.prove() < 1e-4
    assert [path.name for path in pair.graph.parent.iterdir()] == ["m.onnx"]


def test_another_output(nets: Any) -> None:
    net = nets.Net((32, 32))
    logits = net.dense(net.mean(net.input), 4)
    options = schema.SoftmaxOptionsT(beta=1.0)
    content = net.to_bytes(net.op("SOFTMAX", [logits], (1, 4), options))
    [place] = [t.index for t in read_subgraph(content, "").tensors if "fully" in t.name]
    images = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype(np.float32)
    found, scores = (nets.run_litert(c, images) for c in (with_output(content, place), content))
    exponents = np.exp(found)
    np.testing.assert_allclose(exponents / exponents.sum(axis=1, keepdims=True), scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "name", "before", "after"),
    [
        ("Conv", "pads", [0, 0, 1, 1], [1, 1, 0, 0]),
        ("AveragePool", "kernel_shape", [4, 4], [4, 3]),
    ],
)
def test_a_window_at_another_place(
    pair: Pair, kind: str, name: str, before: list[int], after: list[int]
) -> None:
    model = onnx.load(pair.graph)
    first = next(node for node in model.graph.node if node.op_type == kind)
    [attribute] = [attribute for attribute in first.attribute if attribute.name == name]
    assert list(attribute.ints) == before
    attribute.ints[:] = after
    onnx.save(model, pair.graph)
    with pytest.raises(StageError, match="is not the same function"):
        pair.prove()


def test_scores_that_are_no_numbers(pair: Pair) -> None:
    model = onnx.load(pair.graph)
    [bias] = [i for i in model.graph.initializer if i.name == "gemm1_bias"]
    bias.raw_data = np.full(10, np.nan, np.float32).tobytes()
    onnx.save(model, pair.graph)
    with pytest.raises(StageError, match="a logit differs by nan"):
        pair.prove()
