"""A Plan out of the toolkit's table: the same numbers, or the reason why there is none."""

from typing import Any

import numpy as np
import pytest

from pipeline.graph.session import session_of
from pipeline.quant.qdq import render_qdq
from pipeline.synap.table_match import match_table
from pipeline.synap.table_replay import replay


@pytest.fixture
def replayed(network: Any, table_of: Any, read_table: Any) -> Any:
    """`replayed(plan, layers={}, drop=(), changes={})`: the replay of a table like the Plan."""

    def make(plan: Any, layers: Any = None, drop: Any = (), changes: Any = None) -> Any:
        table = read_table(table_of(plan, drop, changes), layers)
        return replay(match_table(table, network), network, "1" * 64, plan)

    return make


def numbers(tensors: Any) -> Any:
    return {name: (t.data_type, t.scale, t.zero_point, t.axis) for name, t in tensors.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data_type": "int8"},
        {"data_type": "int8", "scheme": "perchannel_symmetric_affine"},
        {"data_type": "int8", "scheme": "dynamic_fixed_point"},
        {"data_type": "int16", "scheme": "dynamic_fixed_point"},
        {"layers": {"conv2": "int16"}},
    ],
    ids=str,
)
def test_a_table_that_says_what_a_plan_says_gives_that_plan(
    replayed: Any, plan_of: Any, options: Any
) -> None:
    plan = plan_of(**options)
    made = replayed(plan)
    assert made.refusals == ()
    again = made.plan
    assert numbers(again.activations) == numbers(plan.activations)
    assert numbers(again.weights) == numbers(plan.weights)
    assert set(again.biases) == {"conv1", "gemm1"}, "conv2 has none in the Graph"
    for name, bias in again.biases.items():
        assert bias.scale == pytest.approx(plan.biases[name].scale)
        assert bias.correction is None
    assert (again.graph_sha256, again.data_type) == ("1" * 64, plan.data_type)


def test_its_rendering_computes_what_the_table_says(
    network: Any, replayed: Any, plan_of: Any
) -> None:
    """The first layer by hand: pictures, weights and bias on their grids, and the result."""
    made = replayed(plan_of()).plan
    weight = np.asarray(network.graph.initializers["conv1_weight"].const_value.numpy())
    bias = np.asarray(network.graph.initializers["conv1_bias"].const_value.numpy())
    pictures = np.random.default_rng(5).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    render_qdq(network, made)

    def on_grid(real: Any, tensor: Any) -> Any:
        (scale,), (zero,) = tensor.scale, tensor.zero_point
        return (np.clip(np.rint(real / scale) + zero, 0, 255) - zero) * scale

    seen = on_grid(pictures, made.activations["input"])
    kernel = on_grid(weight, made.weights["conv1_weight"])
    padded = np.pad(seen, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    exact = np.einsum("nchwij,ocij->nohw", windows, kernel)
    (step,) = made.biases["conv1"].scale
    exact = exact + (np.rint(bias / step) * step)[:, None, None]
    expected = on_grid(exact, made.activations["relu1"])
    # The Relu is the integers' own saturation, and the pool takes the largest of four.
    expected = expected.reshape(2, 4, 4, 2, 4, 2).max(axis=(3, 5))
    pooled = next(v for n in network.graph for v in n.outputs if v.name == "maxpool1_dequantized")
    network.graph.outputs.append(pooled)
    session = session_of(network, 1)
    (found,) = session.run(["maxpool1_dequantized"], {"input": pictures})
    (scale,) = made.activations["relu1"].scale
    assert np.abs(found - expected).max() <= 1.01 * scale
    assert (np.abs(found - expected) < scale / 2).mean() > 0.99


def test_the_tables_numbers_are_taken_not_ours(replayed: Any, plan_of: Any) -> None:
    key = "@Relu_relu1_2:out0"
    made = replayed(plan_of(), changes={key: {"scale": 0.75, "zero_point": 7}}, drop=[
        "@MaxPool_maxpool1_3:out0"])  # fmt: skip
    tensor = made.plan.activations["relu1"]
    assert (tensor.scale, tensor.zero_point) == ((0.75,), (7,))
    assert made.plan.activations["maxpool1"].scale == (0.75,)
    assert made.assumptions == (
        "without an entry, taken to have the scale of their input: maxpool1",
        "taken to be one with the Relu or Clip behind them: conv1",
        "the image's means are not cut to whole numbers",
    )


def test_layers_that_the_table_leaves_in_float(replayed: Any, plan_of: Any) -> None:
    gone = ["@Conv_conv2_4:weight", "@Conv_conv2_4:out0"]
    made = replayed(plan_of(), layers={"Conv_conv2_4": "float32"}, drop=gone)
    assert made.refusals == ()
    assert "conv2_weight" not in made.plan.weights
    assert "conv2" not in made.plan.activations
    assert "add1" in made.plan.activations


@pytest.mark.parametrize(
    ("drop", "changes", "reason"),
    [
        (["@Relu_relu1_2:out0"], {}, "the table has no entry for: relu1"),
        (["@Conv_conv2_4:weight"], {}, "the table has no entry for: conv2_weight"),
        (["@Initializer_mul1_input1_77:out0"], {}, "the table has no entry for: mul1_input1"),
        (["@input_99:out0"], {}, "the table has no entry for: input"),
        ([], {"@Conv_conv1_1:bias": {"scale": 0.5}},
         "the bias is not int32 at the scale of input times weights: conv1"),
        ([], {"@Conv_conv1_1:bias": {"qtype": "i16"}},
         "the bias is not int32 at the scale of input times weights: conv1"),
        ([], {"@Add_add1_5:out0": {"scale": [1, 2], "zero_point": [0, 0]}},
         "a result with a scale for every channel: add1"),
        ([], {"@Conv_conv1_1:weight": {"scale": [1, 2, 3], "zero_point": 0}},
         "the number of scales is not that of the channels: conv1_weight"),
        ([], {"@Add_add1_5:out0": {"qtype": "nf4"}}, "the type nf4 has no rendering: add1"),
        ([], {"@Add_add1_5:out0": {"qtype": "u16"}}, "the type uint16 has no rendering: add1"),
        ([], {"@Add_add1_5:out0": {"zero_point": 300}}, "a zero point is outside uint8: add1"),
        # As third parties saw it of tensors that are always zero.
        ([], {"@Add_add1_5:out0": {"scale": None, "fl": 300}},
         "a scale is outside float32: add1"),
    ],
)  # fmt: skip
def test_no_replay_rather_than_a_guess(
    replayed: Any, plan_of: Any, drop: Any, changes: Any, reason: str
) -> None:
    made = replayed(plan_of(), drop=drop, changes=changes)
    assert made.plan is None
    assert made.refusals == (reason,)
    assert made.reason.endswith(reason)


def test_a_table_of_something_else(network: Any, read_table: Any, plan_of: Any) -> None:
    table = read_table({"@Conv_other_1:out0": {"qtype": "u8", "scale": 1}})
    made = replay(match_table(table, network), network, "1" * 64, plan_of())
    assert made.plan is None
    assert made.reason.startswith(
        "the toolkit's own quantization cannot be replayed: the table has no entry for: input, relu1"
    )


def test_biases_that_the_table_does_not_list(replayed: Any, plan_of: Any) -> None:
    made = replayed(plan_of(), drop=["@Conv_conv1_1:bias"])
    assert set(made.plan.biases) == {"conv1", "gemm1"}
    assert "biases without an entry, taken to be int32: conv1" in made.assumptions


def test_int8_weights_with_a_zero_point_say_what_their_rendering_lacks(
    replayed: Any, plan_of: Any
) -> None:
    changes = {"@Conv_conv2_4:weight": {"qtype": "i8", "scale": 0.001, "zero_point": 5}}
    made = replayed(plan_of(data_type="int8"), changes=changes)
    assert any("without -128" in line and "conv2_weight" in line for line in made.assumptions)
