"""Which tensor an entry of the toolkit's table belongs to: by name, or to none."""

from typing import Any

import pytest

from pipeline.synap.table_match import match_table

ENTRY = {"qtype": "u8", "quantizer": "asymmetric_affine", "scale": 0.5, "zero_point": 3}


def test_every_tensor_of_a_whole_table(
    network: Any, plan_of: Any, table_of: Any, read_table: Any
) -> None:
    plan = plan_of()
    matched = match_table(read_table(table_of(plan)), network)
    assert matched.unmatched == ()
    assert set(matched.activations) == {*plan.activations, "conv1"}
    assert set(matched.weights) == set(plan.weights)
    assert set(matched.biases) == {"conv1", "gemm1"}
    assert matched.activations["relu1"].key == "@Relu_relu1_2:out0"


@pytest.mark.parametrize(
    ("key", "place", "name"),
    [
        ("@input_12:out0", "activations", "input"),
        ("@Relu_relu1_7:out0", "activations", "relu1"),
        ("@Gemm_gemm1_0:out0", "activations", "logits"),
        ("@attach_Gemm_gemm1/out0_0:out0", "activations", "logits"),
        ("@Conv_conv2_4:weight", "weights", "conv2_weight"),
        ("@Initializer_mul1_input1_4:out0", "weights", "mul1_input1"),
        ("@Gemm_gemm1_1:bias", "biases", "gemm1"),
    ],
)
def test_one_entry(network: Any, read_table: Any, key: str, place: str, name: str) -> None:
    matched = match_table(read_table({key: ENTRY}), network)
    assert list(getattr(matched, place)) == [name]
    assert matched.unmatched == ()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        # The documentation's own example of fused layers, in our names.
        ("@Conv_conv1_200_Conv_conv2_185:weight", "several layers fused into one"),
        ("@Conv_conv9_4:out0", "the Graph has no node conv9"),
        ("@Gemm_conv1_4:out0", "conv1 is a Conv, not a Gemm"),
        ("@Conv_conv1_4_acuity_mark_perm_213:out0", "not a layer's id as it is known"),
        ("@conv1:out0", "not a layer's id as it is known"),
        ("@Conv_conv1_x:out0", "not a layer's id as it is known"),
        ("@attach_Relu_relu1/out0_0:out0", "relu1 does not make the model's output"),
        ("@Relu_relu1_4:weight", "the node has no weight"),
        ("@Conv_conv2_4:bias", "the node has no bias"),
        ("@Conv_conv1_4:out1", "the node has no out1"),
        ("@Initializer_nothing_4:out0", "the Graph has no node nothing"),
    ],
)
def test_what_is_nobodys_is_listed(network: Any, read_table: Any, key: str, reason: str) -> None:
    matched = match_table(read_table({key: ENTRY}), network)
    assert (matched.activations, matched.weights, matched.biases) == ({}, {}, {})
    assert matched.unmatched == (f"{key}: {reason}",)


def test_two_entries_for_one_tensor(network: Any, read_table: Any) -> None:
    keys = ("@Gemm_gemm1_1:out0", "@attach_Gemm_gemm1/out0_0:out0")
    same = match_table(read_table(dict.fromkeys(keys, ENTRY)), network)
    assert (list(same.activations), same.unmatched) == (["logits"], ())
    other = match_table(read_table({keys[0]: ENTRY, keys[1]: {**ENTRY, "scale": 0.25}}), network)
    assert other.activations == {}
    assert other.unmatched == (
        "@Gemm_gemm1_1:out0 and @attach_Gemm_gemm1/out0_0:out0: disagree about logits",
    )


def test_layers_that_stay_float(network: Any, read_table: Any) -> None:
    layers = {"Conv_conv2_4": "float32", "Conv_conv1_5": "dynamic_fixed_point-i16",
              "@Conv_conv9_1": "float32"}  # fmt: skip
    matched = match_table(read_table({"@input_1:out0": ENTRY}, layers), network)
    assert matched.floats == {"conv2": "float32"}
    assert matched.unmatched == ("Conv_conv9_1, which stays float32: the Graph has no node conv9",)
