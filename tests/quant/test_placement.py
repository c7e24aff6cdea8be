import onnx_ir as ir
import pytest

from pipeline.errors import StageError
from pipeline.quant.placement import place


def test_relu_is_fused_and_pools_share_their_inputs_scale(small: ir.Model) -> None:
    placed = place(small.graph, concat_shares=False)
    assert "conv1" not in placed.activations  # rule 2: its integers never exist
    assert placed.layer["relu1"] == "conv1"
    assert placed.owner["maxpool1"] == "relu1"  # rule 3
    assert placed.owner["averagepool1"] == "concat1"
    assert placed.owner["flatten1"] == "globalaveragepool1"
    assert placed.owner["concat1"] == "concat1"  # uint8 branches may requantize
    assert set(placed.observed) == {
        "input", "relu1", "relu2", "conv3", "concat1", "globalaveragepool1", "logits",
    }  # fmt: skip


def test_int8_concat_shares_one_scale_over_all_branches(small: ir.Model) -> None:
    placed = place(small.graph, concat_shares=True)
    owners = {placed.owner[name] for name in ("relu2", "conv3", "concat1", "averagepool1")}
    assert len(owners) == 1
    assert set(placed.merged[owners.pop()]) == {"relu2", "conv3", "concat1"}


def test_a_result_that_two_read_is_quantized_before_its_relu(build) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    weight = np.ones((3, 3, 1, 1), np.float32)
    nodes = [
        ("Conv", ["x", "w"], "c", {}),
        ("Relu", ["c"], "r", {}),
        ("Add", ["c", "r"], "y", {}),
    ]
    placed = place(build(nodes, {"w": weight}, output_shape=(3, 8, 8)).graph, concat_shares=False)
    assert "conv1" in placed.activations
    assert placed.layer["relu1"] == "relu1"


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh", "Softmax"])
def test_known_ranges_are_not_observed(build, operator: str) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    weight = np.ones((2, 192), np.float32)
    nodes = [
        ("Flatten", ["x"], "f", {"axis": 1}),
        ("Gemm", ["f", "w"], "g", {"transB": 1}),
        (operator, ["g"], "y", {}),
    ]
    placed = place(build(nodes, {"w": weight}, output_shape=(2,)).graph, concat_shares=False)
    assert placed.fixed == {"logits": operator}
    assert "logits" not in placed.observed


def test_weights_biases_and_constants_are_told_apart(build) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    constants = {
        "w": np.ones((4, 3, 1, 1), np.float32),
        "b": np.zeros(4, np.float32),
        "k": np.full((1, 4, 1, 1), 2, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
    }
    nodes = [
        ("Conv", ["x", "w", "b"], "c", {}),
        ("Clip", ["c", "low", "high"], "r", {}),
        ("Mul", ["r", "k"], "y", {}),
    ]
    placed = place(build(nodes, constants, output_shape=(4, 8, 8)).graph, concat_shares=False)
    assert [item.name for item in placed.weights] == ["conv1_weight"]
    assert placed.constants == ("mul1_input1",)  # and not the bounds of the Clip
    assert "conv1" not in placed.activations


def test_every_part_of_a_split_has_the_scale_of_the_whole(build) -> None:  # type: ignore[no-untyped-def]
    nodes = [("Relu", ["x"], "r", {}), ("Relu", ["r"], "y", {})]
    model = build(nodes, {}, output_shape=(3, 8, 8))
    relu = model.graph[0]
    split = ir.node(
        "Split", [relu.outputs[0]], attributes={"axis": 2}, num_outputs=2, name="split1"
    )
    for index, part in enumerate(split.outputs):
        part.name = f"part{index}"
    model.graph.insert_after(relu, split)
    model.graph[2].replace_input_with(0, split.outputs[1])
    placed = place(model.graph, concat_shares=False)
    assert {name: placed.owner[name] for name in ("part0", "part1")} == {
        "part0": "relu1", "part1": "relu1",
    }  # fmt: skip
    assert not {"part0", "part1"} & set(placed.observed)


def test_a_constant_that_would_share_a_scale_is_refused_by_name(build) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    constants = {"k": np.ones((1, 3, 8, 8), np.float32)}
    concat = build(
        [("Concat", ["x", "k"], "y", {"axis": 1})], constants, output_shape=(6, 8, 8)
    ).graph
    with pytest.raises(StageError, match="Concat concat1 reads the constant"):
        place(concat, concat_shares=True)
    assert "logits" in place(concat, concat_shares=False).activations
    nodes = [("MaxPool", ["k"], "p", {"kernel_shape": [1, 1]}), ("Add", ["x", "p"], "y", {})]
    with pytest.raises(StageError, match="MaxPool maxpool1 reads the constant"):
        place(build(nodes, constants, output_shape=(3, 8, 8)).graph, concat_shares=False)
