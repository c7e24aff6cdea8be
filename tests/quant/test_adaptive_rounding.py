"""Weights rounded together lose less on what the layer sees than each rounded by itself."""

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.preprocess import Preprocess
from pipeline.quant.adaptive_rounding import (
    DAMPING,
    layers_to_round,
    round_adaptively,
    round_rows,
)
from pipeline.quant.make_plan import prepare
from pipeline.quant.node_session import run_node
from pipeline.quant.scheme import INT8_SYMMETRIC, UINT8
from pipeline.recipe import Quantize

NORMALIZATION = Preprocess(size=8).normalization


def loss(rows: Any, rounded: Any, moments: Any) -> Any:
    """Mean squared error of the results, by filter: `e M e`."""
    error = rounded - rows
    return np.einsum("grk,gkl,grl->gr", error, moments, error)


def nearest(rows: Any, scales: Any) -> Any:
    return np.clip(np.rint(rows / scales[..., None]), -127, 127) * scales[..., None]


def smooth_moments(size: int, rng: Any) -> Any:
    """Inputs that are nearly equal, as neighbouring pixels are."""
    inputs = rng.normal(1, 0.3, (400, 1)) + rng.normal(0, 0.05, (400, size))
    return (inputs.T @ inputs)[None]


@given(st.integers(2, 12), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_the_result_lies_on_the_grid_and_errs_less(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, scales = rng.normal(0, 1, (1, 200, size)), np.full((1, 200), 0.3)
    moments = smooth_moments(size, rng)
    found = round_rows(rows, moments, scales, np.zeros((1, 200)), INT8_SYMMETRIC)
    assert found / scales[..., None] == pytest.approx(np.rint(found / scales[..., None]), abs=1e-9)
    assert loss(rows, found, moments).sum() < loss(rows, nearest(rows, scales), moments).sum()


def test_it_comes_close_to_the_best_of_all_roundings() -> None:
    """Filters of four weights, by trying every rounding up or down of each."""
    rng = np.random.default_rng(0)
    rows, scales = rng.normal(0, 1, (1, 50, 4)), np.full((1, 50), 0.5)
    moments = smooth_moments(4, rng)
    floor = np.floor(rows / 0.5)
    choices = [floor + np.array(up) for up in itertools.product((-1, 0, 1, 2), repeat=4)]
    best = np.min([loss(rows, choice * 0.5, moments) for choice in choices], axis=0)
    found = loss(
        rows, round_rows(rows, moments, scales, np.zeros((1, 50)), INT8_SYMMETRIC), moments
    )
    plain = loss(rows, nearest(rows, scales), moments)
    assert best.sum() <= found.sum()
    assert found.sum() - best.sum() < 0.35 * (plain.sum() - best.sum())


def test_unrelated_inputs_are_rounded_to_the_nearest() -> None:
    rng = np.random.default_rng(1)
    rows, scales = rng.normal(0, 1, (1, 30, 6)), np.full((1, 30), 0.2)
    found = round_rows(rows, np.eye(6)[None], scales, np.zeros((1, 30)), INT8_SYMMETRIC)
    assert np.array_equal(found, nearest(rows, scales))


@pytest.mark.parametrize("moments", [np.zeros((1, 3, 3)), np.diag([1.0, 0.0, 0.0])[None]])
def test_inputs_that_are_always_zero(moments: Any) -> None:
    rows = np.array([[[0.4, -0.7, 300.0]]])
    found = round_rows(rows, moments, np.full((1, 1), 1.0), np.full((1, 1), 100.0), UINT8)
    assert found.tolist() == [[[0.0, -1.0, 155.0]]]  # clipped to 255 - 100
    assert DAMPING > 0


def depthwise(build: Any, group: int, kernel: int, **attributes: Any) -> ir.Model:
    rng = np.random.default_rng(kernel)
    first = rng.normal(0, 0.5, (8, 3, 1, 1)).astype(np.float32)
    weight = rng.normal(0, 0.5, (8, 8 // group, kernel, kernel)).astype(np.float32)
    padded = 8 + sum(attributes.get("pads", [0] * 4)[1::2])
    reach = (kernel - 1) * attributes.get("dilations", [1])[0] + 1
    side = (padded - reach) // attributes.get("strides", [1])[0] + 1
    return build(
        [
            ("Conv", ["x", "first"], "a", {}),
            ("Conv", ["a", "w"], "y", {"group": group, **attributes}),
        ],
        {"first": first, "w": weight},
        output_shape=(8, side, side),
    )


@pytest.mark.parametrize(
    ("group", "attributes"),
    [
        (8, {"pads": [1, 1, 1, 1]}),
        (8, {"pads": [0, 0, 1, 1], "strides": [2, 2]}),
        (8, {"pads": [2, 2, 2, 2], "dilations": [2, 2]}),
        (1, {"pads": [1, 1, 1, 1]}),
        (2, {"pads": [1, 1, 1, 1]}),
    ],
)
@pytest.mark.parametrize("scheme", ["asymmetric_affine", "perchannel_symmetric_affine"])
def test_a_layer_gives_more_exact_results(
    build: Any, images: np.ndarray, group: int, attributes: Any, scheme: str
) -> None:
    """By the layer's own results in ONNX Runtime, for plain, depthwise and grouped convolutions."""
    model = depthwise(build, group, 3, **attributes)
    options = Quantize.model_validate(
        {"data_type": "int8", "scheme": scheme, "rounding": "adaptive"}
    )
    planned = [
        (layer, coarse(scales))
        for layer, scales in prepare(model, options)[1]
        if layer.weight.shape[2] == 3
    ]
    rounded = round_adaptively(model, planned, NORMALIZATION, [images[:5], images[5:]], 1)
    ((layer, scales),) = planned
    node = next(node for node in model.graph if node.name == layer.node)
    first = next(node for node in model.graph if node.name != layer.node)
    values = {"input": NORMALIZATION.apply(images)}
    values[layer.source] = run_node(first, values, 1)
    steps = np.asarray(scales.scales).reshape(-1, 1, 1, 1)
    plain = (np.clip(np.rint(layer.weight / steps), -127, 127) * steps).astype(np.float32)
    real, ours, theirs = (
        run_node(node, values, 1, constants={1: weight})
        for weight in (layer.weight, rounded[layer.weight_name], plain)
    )
    assert np.square(ours - real).mean() < np.square(theirs - real).mean()


def coarse(scales: Any) -> Any:
    """Scales so coarse that rounding matters in a layer this small."""
    from dataclasses import replace

    return replace(scales, scales=scales.scales * 8)


def test_which_layers_the_word_means(build: Any) -> None:
    model = depthwise(build, 8, 3)
    planned = prepare(model, Quantize())[1]
    chosen = {
        word: [layer.weight.shape for layer, _ in layers_to_round(model, planned, word)]
        for word in ("auto", "nearest", "adaptive")
    }  # fmt: skip
    assert chosen == {
        "auto": [(8, 1, 3, 3)], "nearest": [], "adaptive": [(8, 3, 1, 1), (8, 1, 3, 3)],
    }  # fmt: skip


@pytest.mark.parametrize("word", ["auto", "adaptive"])
def test_a_convolution_along_one_axis_is_rounded_to_the_nearest(build: Any, word: Any) -> None:
    nodes = [
        ("Reshape", ["x", "rows"], "a", {}),
        ("Conv", ["a", "w"], "c", {"group": 3}),
        ("Reshape", ["c", "flat"], "f", {}),
        ("Gemm", ["f", "v"], "y", {"transB": 1}),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "rows": np.array([0, 3, 64]), "w": rng.normal(0, 1, (3, 1, 5)).astype(np.float32),
        "flat": np.array([0, 180]), "v": rng.normal(0, 1, (4, 180)).astype(np.float32),
    }  # fmt: skip
    model = build(nodes, constants, output_shape=(4,))
    planned = prepare(model, Quantize())[1]
    assert 3 in [layer.weight.ndim for layer, _ in planned]
    assert layers_to_round(model, planned, word) == []
