from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.quant.bias_correction import (
    correct_fast,
    correct_sequentially,
    images_within,
    mean_inputs,
    mean_results,
)
from pipeline.quant.make_plan import make_plan, prepare
from pipeline.quant.observe import observe
from pipeline.quant.plan import Plan
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization
OPTIONS = Quantize()


class NoBar:
    def advance(self, amount: float = 1.0) -> None:
        return


def coarse_plan(model: ir.Model, images: np.ndarray) -> tuple[Plan, Any]:
    """A Plan whose weights are far too coarse, so that biases are really off."""
    placement, layers = prepare(model, OPTIONS)
    seen = observe(model, placement.observed, NORMALIZATION, [images], 1)
    plan = make_plan(model, "0" * 64, NORMALIZATION, seen, OPTIONS, Ranges(rule="minmax"))
    weights, biases = {}, {}
    for name, tensor in plan.weights.items():
        weights[name] = tensor.model_copy(update={"scale": tuple(s * 24 for s in tensor.scale)})
        # The zero point stays inside its type; what it shifts is part of the error to correct.
    for node, bias in plan.biases.items():
        biases[node] = bias.model_copy(update={"scale": tuple(s * 24 for s in bias.scale)})
    return plan.model_copy(update={"weights": weights, "biases": biases}), (placement, layers)


def means(model: ir.Model, plan: Plan | None, images: np.ndarray) -> np.ndarray:
    """Mean logits of the float model, or of a Plan's rendering."""
    normalization = NORMALIZATION
    graph = ir.from_proto(ir.to_proto(model))
    if plan is not None:
        render_qdq(graph, plan)
        normalization = plan.normalization
    session = make_session(ir.to_proto(graph).SerializeToString(), 1)
    return session.run(None, {"input": normalization.apply(images)})[0].mean(axis=0)


def test_sequential_correction_puts_the_means_of_the_result_back(
    small: ir.Model, images: np.ndarray
) -> None:
    plan, (_, found) = coarse_plan(small, images)
    layers = [layer for layer, _ in found]
    expected = means(small, None, images)
    off = np.abs(means(small, plan, images) - expected).max()
    targets = mean_results(small, layers, NORMALIZATION, images, 1)
    assert targets["gemm1"] == pytest.approx(expected, abs=1e-5)
    corrected = correct_sequentially(small, plan, layers, targets, images, 1, NoBar())
    left = np.abs(means(small, corrected, images) - expected).max()
    # What remains is the rounding of the logits themselves.
    assert left <= max(plan.activations["logits"].scale[0], 0.1 * off)
    assert off > 4 * left
    assert corrected.biases["gemm1"].source == "sequential"
    assert corrected.biases["conv1"].source == "input offset, sequential"


def test_every_part_of_a_split_is_passed_on(build: Any, images: np.ndarray) -> None:
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 1, (3, 3, 1, 1)).astype(np.float32) for name in ("w", "v")}
    model = build(
        [("Conv", ["x", "w"], "a", {}), ("Relu", ["a"], "b", {}), ("Conv", ["b", "v"], "y", {})],
        weights,
        output_shape=(3, 4, 8),
    )
    relu = model.graph[1]
    split = ir.node("Split", [relu.outputs[0]], {"axis": 2}, num_outputs=2, name="split1")
    for index, part in enumerate(split.outputs):
        part.name, part.dtype = f"part{index}", ir.DataType.FLOAT
        part.shape = ir.Shape(["batch", 3, 4, 8])
    model.graph.insert_after(relu, split)
    model.graph[3].replace_input_with(0, split.outputs[1])
    plan, (_, found) = coarse_plan(model, images)
    layers = [layer for layer, _ in found]
    targets = mean_results(model, layers, NORMALIZATION, images, 1)
    corrected = correct_sequentially(model, plan, layers, targets, images, 1, NoBar())
    assert corrected.biases["conv2"].source == "sequential"


def test_fast_correction_is_exact_for_one_layers_own_rounding(
    build: Any, images: np.ndarray
) -> None:
    """One float layer behind the input: the mean over images and places is the float one."""
    weight = np.random.default_rng(0).normal(0, 1, (5, 3, 3, 3)).astype(np.float32)
    model = build(
        [("Conv", ["x", "w"], "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})],
        {"w": weight},
        output_shape=(5, 8, 8),
    )
    plan, (_, layers) = coarse_plan(model, images)
    only = [layer for layer, _ in layers]
    sums = mean_inputs(model, only, NORMALIZATION, [images[:5], images[5:]], 1)
    assert sums["input"] == pytest.approx(NORMALIZATION.apply(images).mean(axis=0)[None], abs=1e-6)
    weights = {layer.node: layer.weight for layer in only}
    corrected = correct_fast(model, plan, only, weights, sums, 1)
    # Padding makes the input offset inexact at the border; compare what the weights lose.
    axes = (1, 2)
    expected = means(model, None, images).mean(axis=axes)
    off = np.abs(means(model, plan, images).mean(axis=axes) - expected).max()
    left = np.abs(means(model, corrected, images).mean(axis=axes) - expected).max()
    assert left < 0.2 * off


def test_memory_decides_how_many_images_are_worked_on(small: ir.Model) -> None:
    few, many = images_within(small, 1 << 14), images_within(small, 1 << 20)
    assert 1 <= few < many
    assert images_within(small, 1) == 1
    # The largest tensors alive at once: conv1 with relu1, 6x8x8 each, and a copy of the latter.
    assert many == (1 << 20) // (4 * 6 * 64 * 3)
