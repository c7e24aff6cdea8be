"""The toolkit's table against what was asked for: what is a fault, and what is only noted."""

from typing import Any

import pytest

from pipeline.synap.table_compare import compare
from pipeline.synap.table_match import match_table


@pytest.fixture
def compared(network: Any, table_of: Any, read_table: Any) -> Any:
    """`compared(plan, layers={}, drop=(), **fields)`: a table like the Plan but for these."""

    def make(plan: Any, layers: Any = None, drop: Any = (), changes: Any = None) -> Any:
        table = read_table(table_of(plan, drop, changes), layers)
        return compare(match_table(table, network), plan)

    return make


SCHEMES: list[Any] = [
    {},
    {"data_type": "int8"},
    {"data_type": "int8", "scheme": "perchannel_symmetric_affine"},
    {"data_type": "int8", "scheme": "dynamic_fixed_point"},
    {"data_type": "int16", "scheme": "dynamic_fixed_point"},
    {"layers": {"conv2": "int16"}},
    {"layers": {"conv2": "float16"}},
]


@pytest.mark.parametrize("options", SCHEMES, ids=str)
def test_a_table_as_it_was_asked_for(compared: Any, plan_of: Any, options: Any) -> None:
    found = compared(plan_of(**options))
    assert (found.faults, found.notes, found.complete) == ((), (), True)


WEIGHT, RELU = "@Conv_conv2_4:weight", "@Relu_relu1_2:out0"


@pytest.mark.parametrize(
    ("options", "changed", "said"),
    [
        ({}, {"changes": {WEIGHT: {"qtype": "i16"}}},
         "uint8 was asked for, int16 came out (weights): conv2_weight"),
        ({}, {"changes": {RELU: {"qtype": "i8", "zero_point": 0}}},
         "uint8 was asked for, int8 came out (results): relu1"),
        ({}, {"changes": {RELU: {"qtype": "float16"}}},
         "results left in float that were to be uint8: relu1"),
        ({}, {"layers": {"Conv_conv2_4": "float32"}, "drop": [WEIGHT]},
         "weights left in float that were to be uint8: conv2_weight"),
        ({"data_type": "int8", "scheme": "perchannel_symmetric_affine"},
         {"changes": {WEIGHT: {"quantizer": "asymmetric_affine", "scale": 0.1}}},
         "perchannel_symmetric_affine was asked for, asymmetric_affine came out (weights): "
         "conv2_weight"),
        ({}, {"changes": {RELU: {"quantizer": "dynamic_fixed_point"}}},
         "asymmetric_affine was asked for, dynamic_fixed_point came out (results): relu1"),
        ({"layers": {"conv2": "int16"}}, {"changes": {WEIGHT: {"qtype": "i8"}}},
         "int16 was asked for, int8 came out (weights): conv2_weight"),
        ({"layers": {"conv2": "float16"}}, {"changes": {WEIGHT: {"qtype": "u8", "scale": 1}}},
         "float16 was asked for, uint8 came out: conv2"),
    ],
)  # fmt: skip
def test_what_was_not_done_as_asked(
    compared: Any, plan_of: Any, options: Any, changed: Any, said: str
) -> None:
    found = compared(plan_of(**options), **changed)
    assert said in found.faults, found
    assert not found.complete


def test_what_is_not_in_the_table_is_not_seen(compared: Any, plan_of: Any) -> None:
    found = compared(plan_of(), drop=[RELU, WEIGHT])
    assert found.faults == ()
    assert found.notes == (
        "results that the toolkit's table does not have: relu1",
        "weights that the toolkit's table does not have: conv2_weight",
    )
    assert not found.complete


def test_a_mixed_layers_neighbours_are_the_toolkits_own_matter(compared: Any, plan_of: Any) -> None:
    plan = plan_of(layers={"conv2": "int16"})
    found = compared(plan, changes={RELU: {"qtype": "i16", "zero_point": 0}})
    assert found.faults == ()
    assert found.notes == ("uint8 was asked for, int16 came out (results): relu1",)
    assert not found.complete


def test_scales_that_are_far_from_ours_are_noted(compared: Any, plan_of: Any) -> None:
    plan = plan_of()
    scale = plan.activations["relu1"].scale[0]
    near = compared(plan, changes={RELU: {"scale": 1.9 * scale}})
    assert near.notes == ()
    far = compared(plan, changes={RELU: {"scale": 3 * scale}, WEIGHT: {
        "scale": plan.weights["conv2_weight"].scale[0] / 10}})  # fmt: skip
    assert far.faults == ()
    assert far.notes == (
        "scales more than 2 times off ours: conv2_weight (10.0 times), relu1 (3.0 times)",
    )
    assert far.complete


def test_layers_that_are_not_ours_are_counted(compared: Any, plan_of: Any) -> None:
    found = compared(plan_of(), changes={"@Perm_x_1:out0": {"qtype": "u8", "scale": 1}})
    assert found.notes == (
        "1 of the table's layers are not ours: @Perm_x_1:out0: the Graph has no node x",
    )
