"""What the NPU runs slowly or does not know is said by operator, with where it stands."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.synap.npu_operators import (
    OPERATORS,
    effect_of,
    findings_of_operators,
    npu_findings,
)


def graph_of(nodes: list[tuple[str, str, dict[str, Any]]]) -> ir.Graph:
    """A chain of nodes, `(operator, name, attributes)`; convolutions get weights of 3x3."""
    weight = numpy_helper.from_array(np.zeros((3, 3, 3, 3), np.float32), "w")
    made, last = [], "x"
    for operator, name, attributes in nodes:
        inputs = [last, "w"] if operator == "Conv" else [last]
        made.append(helper.make_node(operator, inputs, [f"{name}_out"], name=name, **attributes))
        last = f"{name}_out"
    image = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40, 40])]
    result = [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)]
    graph = helper.make_graph(made, "g", image, result, [weight])
    return ir.from_proto(helper.make_model(graph)).graph


def test_the_worst_first_with_counts_and_places() -> None:
    nodes: list[tuple[str, str, dict[str, Any]]] = [("Conv", "conv1", {"strides": [2, 2]})]
    nodes += [("Sqrt", f"sqrt{i}", {}) for i in range(1, 6)]
    nodes += [("Relu", "relu1", {}), ("Exp", "exp1", {}), ("Xor", "xor1", {})]
    said = [str(finding) for finding in npu_findings(graph_of(nodes))]
    assert [line.split(":")[0] for line in said] == [
        "1 x Xor (xor1)", "5 x Sqrt (sqrt1, sqrt2, sqrt3, …)", "1 x Exp (exp1)",
        "1 x Conv (conv1)",
    ]  # fmt: skip
    assert "does not list it" in said[0]
    assert "slow programmable unit" in said[1]
    assert "stride or size" in said[3]


@pytest.mark.parametrize(
    ("attributes", "pure"),
    [
        ({}, True),
        ({"kernel_shape": [3, 3], "strides": [1, 1], "group": 3}, True),
        ({"kernel_shape": [15, 1]}, True),
        ({"kernel_shape": [16, 1]}, False),
        ({"strides": [1, 2]}, False),
        ({"dilations": [12, 12]}, True),
        ({"dilations": [13, 13]}, False),
    ],
)
def test_convolutions_of_the_convolution_engine(attributes: dict[str, Any], pure: bool) -> None:
    findings = npu_findings(graph_of([("Conv", "conv1", attributes)]))
    assert [f.effect for f in findings] == ([] if pure else ["slower"])


def test_an_operator_of_another_domain_is_unknown() -> None:
    (finding,) = npu_findings(graph_of([("Relu", "relu1", {"domain": "com.example"})]))
    assert (finding.operator, finding.effect) == ("Relu", "unknown")


def test_operators_without_their_nodes() -> None:
    counts = {"Conv": 9, "Mul": 2, "Softmax": 1, "Einsum": 1, "Relu": 9}
    said = [str(finding) for finding in findings_of_operators(counts)]
    assert [line.split(":")[0] for line in said] == ["1 x Einsum", "2 x Mul", "1 x Softmax"]


def test_every_operator_of_the_table_is_onnx_own() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= known
    assert effect_of("HardSwish") == "unknown"  # the manual lists SWISH and HARD_SIGMOID only
