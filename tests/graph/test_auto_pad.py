"""The words of auto_pad as numbers."""

import onnx
import onnx_ir as ir
import pytest

from pipeline.errors import StageError
from pipeline.graph.auto_pad import pads_of
from pipeline.graph.canonical import check_canonical


def test_automatic_pads() -> None:
    """ONNX's operators Conv and MaxPool, attribute auto_pad."""
    axes = [(224, 3, 2), (7, 4, 1)]
    assert pads_of("VALID", axes) == [(0, 0), (0, 0)]
    assert pads_of("SAME_UPPER", axes) == [(0, 1), (1, 2)]
    assert pads_of("SAME_LOWER", axes) == [(1, 0), (2, 1)]


@pytest.mark.parametrize(("word", "is_one"), [("SAME_UPPER", False), ("NOTSET", True)])
def test_no_canonical_graph_has_them(word: str, is_one: bool) -> None:
    shape = ["n", 1, 4, 4]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(
                "MaxPool", ["x"], ["y"], "pool", kernel_shape=[1, 1], auto_pad=word
            )
        ],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8))
    if is_one:
        check_canonical(model)
    else:
        with pytest.raises(StageError, match="MaxPool pool has auto_pad"):
            check_canonical(model)
