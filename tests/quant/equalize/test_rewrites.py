"""Rewrites keep the function on the images they were made with, and do what they are for."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.errors import StageError
from pipeline.quant.equalize.channels import ChannelRanges, observe_channels
from pipeline.quant.equalize.coupling import Coupling, find_couplings
from pipeline.quant.equalize.cross_layer import equalize_layers
from pipeline.quant.equalize.dead_channels import remove_dead_channels
from pipeline.quant.equalize.high_bias import absorb_high_biases
from pipeline.quant.equalize.input_std import fold_input_std
from pipeline.quant.equalize.weights import Weights
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization
PADS = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


@pytest.fixture
def mobile(build: Any) -> ir.Model:
    """Expand, depthwise, two projections into a concat, pools, a classifier; ReLU6 throughout."""
    expand = normal(1, 8, 3, 1, 1)
    expand[2] *= 300  # far from the others, and cut at 6 by the clip
    expand[3] /= 100
    depthwise = normal(2, 8, 1, 3, 3)
    depthwise[3] *= 50
    bias = normal(3, 8)
    expand[5], bias[5] = -np.abs(expand[5]) * 0, -4.0  # never above zero
    depthwise[5] = 77.0  # nothing ever trained these
    bias[3] = 0.02
    bias[6], expand[6] = 3.0, expand[6] * 0.3  # always above zero
    low, high = np.array(0, np.float32), np.array(6, np.float32)
    nodes = [
        ("Conv", ["x", "w1", "b1"], "c1", {}),
        ("Clip", ["c1", "low", "high"], "r1", {}),
        ("Conv", ["r1", "w2", "b2"], "c2", {**PADS, "group": 8}),
        ("Relu", ["c2"], "r2", {}),
        ("MaxPool", ["r2"], "m2", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ["m2", "w3"], "c3", {}),
        ("Conv", ["m2", "w4", "b4"], "c4", PADS),
        ("Concat", ["c3", "c4"], "k", {"axis": 1}),
        ("Relu", ["k"], "r5", {}),
        ("GlobalAveragePool", ["r5"], "g", {}),
        ("Flatten", ["g"], "f", {"axis": 1}),
        ("Gemm", ["f", "w5", "b5"], "y", {"transB": 1}),
    ]
    constants = {
        "w1": expand, "b1": bias, "low": low, "high": high, "w2": depthwise, "b2": normal(4, 8),
        "w3": normal(5, 4, 8, 1, 1), "w4": normal(6, 3, 8, 3, 3), "b4": normal(7, 3),
        "w5": normal(8, 10, 7), "b5": normal(9, 10),
    }  # fmt: skip
    return build(nodes, constants, output_shape=(10,))


def logits(model: ir.Model, images: np.ndarray, normalization: Normalization) -> np.ndarray:
    session = make_session(ir.to_proto(model).SerializeToString(), 1)
    return session.run(None, {"input": normalization.apply(images)})[0]


def seen(model: ir.Model, images: np.ndarray) -> tuple[list[Coupling], dict[str, ChannelRanges]]:
    couplings = find_couplings(model.graph)
    names = sorted({p.tensor for c in couplings for p in c.passages})
    return couplings, observe_channels(model, names, NORMALIZATION, [images], 1)


def spread(rows: np.ndarray) -> float:
    """Largest range of a channel over the smallest."""
    ranges = np.abs(rows.reshape(len(rows), -1)).max(axis=1)
    ranges = ranges[ranges > 0]
    return float(ranges.max() / ranges.min())


def test_couplings_go_through_depthwise_pools_concats_and_flattening(mobile: ir.Model) -> None:
    found = {c.writer: c for c in find_couplings(mobile.graph)}
    assert [r.node for r in found["conv1"].readers] == ["conv2"]
    assert {r.node for r in found["conv2"].readers} == {"conv3", "conv4"}
    (reader,) = found["conv4"].readers
    assert (reader.node, reader.offset) == ("gemm1", 4)  # behind the four channels of conv3
    assert [p.bound for p in found["conv1"].passages] == [None, 6.0]


def test_a_channel_that_is_added_to_others_is_coupled_to_nothing(build: Any) -> None:
    nodes = [
        ("Conv", ["x", "w"], "c", {}),
        ("Relu", ["c"], "r", {}),
        ("Conv", ["r", "v"], "d", {}),
        ("Add", ["r", "d"], "y", {}),
    ]
    constants = {"w": normal(1, 3, 3, 1, 1), "v": normal(2, 3, 3, 1, 1)}
    assert find_couplings(build(nodes, constants, output_shape=(3, 8, 8)).graph) == []


def test_dead_channels_go_and_take_their_huge_weights_along(
    mobile: ir.Model, images: np.ndarray
) -> None:
    before = logits(mobile, images, NORMALIZATION)
    couplings, ranges = seen(mobile, images)
    weights = Weights(mobile.graph)
    assert np.abs(weights.outgoing("conv2")).max() == 77.0
    assert remove_dead_channels(couplings, weights, ranges) >= 1
    assert np.abs(weights.outgoing("conv2")[5]).max() == 0
    assert np.abs(weights.outgoing("conv1")[5]).max() == 0
    weights.write_back()
    assert np.abs(logits(mobile, images, NORMALIZATION) - before).max() < 1e-5


def test_cross_layer_equalization_keeps_the_function_and_evens_ranges(
    mobile: ir.Model, images: np.ndarray
) -> None:
    before = logits(mobile, images, NORMALIZATION)
    couplings, ranges = seen(mobile, images)
    weights = Weights(mobile.graph)
    remove_dead_channels(couplings, weights, ranges)
    clipped = np.array(weights.outgoing("conv1")[2])
    uneven = spread(weights.outgoing("conv2"))
    scales = equalize_layers(couplings, weights, ranges)
    weights.write_back()
    after = logits(mobile, images, NORMALIZATION)
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    assert spread(weights.outgoing("conv2")) < 0.2 * uneven
    # The channel that reaches the clip keeps its scale (rule 2), the one far below does not.
    assert scales["conv1"][2] == 1.0
    assert np.array_equal(weights.outgoing("conv1")[2], clipped)
    assert scales["conv1"][3] != 1.0


def test_what_was_observed_follows_the_scales(mobile: ir.Model, images: np.ndarray) -> None:
    couplings, ranges = seen(mobile, images)
    weights = Weights(mobile.graph)
    equalize_layers(couplings, weights, ranges)
    weights.write_back()
    _, observed = seen(mobile, images)
    for name, found in observed.items():
        assert ranges[name].maximum == pytest.approx(found.maximum, rel=1e-3, abs=1e-5)


def test_without_the_watch_on_the_clip_the_function_would_change(
    mobile: ir.Model, images: np.ndarray
) -> None:
    """Shows that the test above can fail: the same with the bounds forgotten."""
    from dataclasses import replace

    before = logits(mobile, images, NORMALIZATION)
    couplings, ranges = seen(mobile, images)
    blind = [
        replace(c, passages=tuple(replace(p, bound=None) for p in c.passages)) for c in couplings
    ]
    weights = Weights(mobile.graph)
    equalize_layers(blind, weights, ranges)
    weights.write_back()
    assert np.abs(logits(mobile, images, NORMALIZATION) - before).max() > 0.01


def test_high_biases_move_only_where_nothing_pads(build: Any, images: np.ndarray) -> None:
    bias = np.array([5.0, -0.1], np.float32)
    weight = np.full((2, 3, 1, 1), 0.2, np.float32)
    for pads, moved in (([0, 0, 0, 0], 1), ([1, 1, 1, 1], 0)):
        nodes = [
            ("Conv", ["x", "w", "b"], "c", {}),
            ("Relu", ["c"], "r", {}),
            ("Conv", ["r", "v"], "y", {"kernel_shape": [3, 3], "pads": pads}),
        ]
        constants = {"w": weight, "b": bias, "v": normal(2, 4, 2, 3, 3)}
        side = 6 if moved else 8
        model = build(nodes, constants, output_shape=(4, side, side))
        before = logits(model, images, NORMALIZATION)
        couplings, ranges = seen(model, images)
        weights = Weights(model.graph)
        assert absorb_high_biases(couplings, weights, ranges) == moved
        weights.write_back()
        assert np.abs(logits(model, images, NORMALIZATION) - before).max() < 1e-4
        if moved:
            assert weights.bias("conv1")[0] < 5.0


def test_deviations_per_channel_fold_into_the_first_convolution(
    build: Any, images: np.ndarray
) -> None:
    declared = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    nodes = [("Conv", ["x", "w", "b"], "y", PADS)]
    constants = {"w": normal(1, 4, 3, 3, 3), "b": normal(2, 4)}
    model = build(nodes, constants, output_shape=(4, 8, 8))
    before = logits(model, images, declared)
    weights = Weights(model.graph)
    folded = fold_input_std(model.graph, weights, declared)
    weights.write_back()
    assert len(set(folded.std)) == 1
    assert np.abs(logits(model, images, folded) - before).max() < 1e-4


def test_deviations_that_nothing_can_take_are_refused(build: Any) -> None:
    declared = Normalization(mean=(0.5,) * 3, std=(0.2, 0.3, 0.4))
    nodes = [("Relu", ["x"], "r", {}), ("Conv", ["r", "w"], "y", {})]
    model = build(nodes, {"w": normal(1, 2, 3, 1, 1)}, output_shape=(2, 8, 8))
    with pytest.raises(StageError, match="read by a Relu"):
        fold_input_std(model.graph, Weights(model.graph), declared)


def test_deviations_do_not_fold_into_a_convolution_of_groups(build: Any) -> None:
    declared = Normalization(mean=(0.5,) * 3, std=(0.2, 0.3, 0.4))
    nodes = [("Conv", ["x", "w"], "y", {"group": 3})]
    model = build(nodes, {"w": normal(1, 6, 1, 1, 1)}, output_shape=(6, 8, 8))
    with pytest.raises(StageError, match="read by a Conv of groups"):
        fold_input_std(model.graph, Weights(model.graph), declared)


@pytest.mark.parametrize(("counted", "moved"), [(0, 1), (1, 0)])
def test_an_average_that_counts_its_padding_holds_high_biases(
    build: Any, images: np.ndarray, counted: int, moved: int
) -> None:
    nodes = [
        ("Conv", ["x", "w", "b"], "c", {}),
        ("Relu", ["c"], "r", {}),
        ("AveragePool", ["r"], "a", {**PADS, "count_include_pad": counted}),
        ("Conv", ["a", "v"], "y", {}),
    ]
    weight, bias = np.full((2, 3, 1, 1), 0.2, np.float32), np.array([5.0, -0.1], np.float32)
    constants = {"w": weight, "b": bias, "v": normal(2, 4, 2, 1, 1)}
    model = build(nodes, constants, output_shape=(4, 8, 8))
    before = logits(model, images, NORMALIZATION)
    couplings, ranges = seen(model, images)
    weights = Weights(model.graph)
    assert absorb_high_biases(couplings, weights, ranges) == moved
    weights.write_back()
    assert np.abs(logits(model, images, NORMALIZATION) - before).max() < 1e-4


def test_a_channel_that_one_reader_sees_alive_is_not_dead(build: Any, images: np.ndarray) -> None:
    """Behind its Relu the channel is always zero; another layer reads it before the Relu."""
    nodes = [
        ("Conv", ["x", "w", "b"], "c", {}),
        ("Relu", ["c"], "r", {}),
        ("Conv", ["r", "v"], "d", {}),
        ("Conv", ["c", "u"], "e", {}),
        ("Concat", ["d", "e"], "y", {"axis": 1}),
    ]
    constants = {
        "w": normal(1, 2, 3, 1, 1), "b": np.array([-9.0, 1.0], np.float32),
        "v": normal(2, 2, 2, 1, 1), "u": normal(3, 2, 2, 1, 1),
    }  # fmt: skip
    model = build(nodes, constants, output_shape=(4, 8, 8))
    before = logits(model, images, NORMALIZATION)
    couplings, ranges = seen(model, images)
    weights = Weights(model.graph)
    assert ranges["relu1"].maximum[0] == 0 > ranges["conv1"].maximum[0]
    assert remove_dead_channels(couplings, weights, ranges) == 0
    weights.write_back()
    assert np.abs(logits(model, images, NORMALIZATION) - before).max() < 1e-5
