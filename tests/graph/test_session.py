"""A Graph runs from memory as it does from its bytes, and is left as it was."""

import gc

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.graph.session import LARGE, session_of
from pipeline.runners.onnx import make_session


def dense(width: int, type: str = "float32") -> ir.Model:
    """`y = x @ w` with a weight above and a bias below the size that is set aside."""
    rng = np.random.default_rng(width)
    weight = rng.normal(0, 1, (width, 8)).astype(type)
    bias = rng.normal(0, 1, 8).astype(type)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(type))
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", kind, [1, width])],
        [helper.make_tensor_value_info("y", kind, [1, 8])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return ir.from_proto(model)


@pytest.mark.parametrize("type", ["float32", "float64"])
def test_it_computes_what_the_file_does(type: str) -> None:
    model = dense(LARGE // 32 + 8, type)
    x = np.random.default_rng(0).normal(0, 1, (1, LARGE // 32 + 8)).astype(type)
    content = ir.to_proto(model).SerializeToString()
    expected = make_session(content, 1).run(None, {"x": x})[0]
    session = session_of(model, 1)
    assert ir.to_proto(model).SerializeToString() == content
    del model
    gc.collect()  # the session alone has to keep the arrays it reads
    junk = [np.full((LARGE // 4,), np.nan, np.float32) for _ in range(64)]
    assert np.array_equal(session.run(None, {"x": x})[0], expected)
    assert len(junk) == 64


def test_what_is_handed_over_is_small() -> None:
    """Only the description: a graph of megabytes makes a message of less than a kilobyte."""
    from pipeline.graph.session import _weights_aside

    model = dense(1 << 16)
    with _weights_aside(model) as weights:
        assert list(weights) == ["w"]
        proto = ir.to_proto(model)
    assert len(proto.SerializeToString()) < 1024
    assert proto.graph.initializer[0].data_location == TensorProto.EXTERNAL
    assert isinstance(ir.to_proto(model), onnx.ModelProto)
    assert ir.to_proto(model).graph.initializer[0].data_location == TensorProto.DEFAULT


def test_a_graph_is_restored_when_the_session_is_refused() -> None:
    from pipeline.errors import StageError

    model = dense(LARGE)
    model.graph.node(0).op_type = "NoSuchOperator"
    with pytest.raises(StageError, match="NoSuchOperator"):
        session_of(model, 1)
    weight = model.graph.initializers["w"].const_value
    assert weight is not None and weight.numpy().shape == (LARGE, 8)
