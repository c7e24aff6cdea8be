"""Small graphs in canonical form, built here so that every number in them is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import Preprocess
from pipeline.graph.canonical import canonicalize
from pipeline.graph.file import set_preprocess

Build = Callable[..., ir.Model]


@pytest.fixture
def build() -> Build:
    """`build(nodes, constants, size=8, output=...)`: a canonical graph of an image input `input`
    and one output; nodes are `(op, inputs, output, attributes)`."""

    def make(
        nodes: list[tuple[str, list[str], str, dict[str, Any]]],
        constants: dict[str, np.ndarray],
        *,
        size: int = 8,
        output_shape: tuple[int, ...] = (),
    ) -> ir.Model:
        result = nodes[-1][2]
        graph = helper.make_graph(
            [helper.make_node(op, i, [o], name=f"/n/{o}", **a) for op, i, o, a in nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["n", *output_shape])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(proto)
        model = ir.from_proto(proto)
        canonicalize(model)
        set_preprocess(model, Preprocess(size=size))
        return model

    return make


@pytest.fixture
def small(build: Build) -> ir.Model:
    """conv-relu, a max pool, two branches, concat, average pool, global pool, gemm."""
    random = np.random.default_rng(7)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0, 0.4, shape).astype(np.float32)

    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Conv", ["x", "w1", "b1"], "c1", pads),
        ("Relu", ["c1"], "r1", {}),
        ("MaxPool", ["r1"], "m1", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ["m1", "w2"], "c2", pads),
        ("Relu", ["c2"], "r2", {}),
        ("Conv", ["m1", "w3", "b3"], "c3", {"kernel_shape": [1, 1]}),
        ("Concat", ["r2", "c3"], "k1", {"axis": 1}),
        ("AveragePool", ["k1"], "a1", {**pads, "count_include_pad": 0}),
        ("GlobalAveragePool", ["a1"], "g1", {}),
        ("Flatten", ["g1"], "f1", {"axis": 1}),
        ("Gemm", ["f1", "w4", "b4"], "y", {"transB": 1}),
    ]
    constants = {
        "w1": normal(6, 3, 3, 3), "b1": normal(6), "w2": normal(5, 6, 3, 3),
        "w3": normal(4, 6, 1, 1), "b3": normal(4), "w4": normal(10, 9), "b4": normal(10),
    }  # fmt: skip
    return build(nodes, constants, output_shape=(10,))


@pytest.fixture
def images() -> np.ndarray:
    """Crops `uint8 [12, 8, 8, 3]` of very different brightness."""
    random = np.random.default_rng(11)
    base = random.integers(0, 256, (12, 8, 8, 3))
    return (base * random.uniform(0.2, 1.0, (12, 1, 1, 1))).astype(np.uint8)
