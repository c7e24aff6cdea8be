"""Costs by layer and the proposal, where the recipe has layers of other types already."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from pipeline.data.preprocess import Preprocess
from pipeline.graph.file import save_graph
from pipeline.progress import Silent
from pipeline.quant.candidate import Base
from pipeline.quant.make_plan import placement_for
from pipeline.quant.observe import observe
from pipeline.quant.sensitivity import layer_costs, propose_layers
from pipeline.recipe import Quantize, Ranges
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization
HALF = Quantize(layers={"conv2": "float16"})


def base_of(model: ir.Model, images: np.ndarray, path: Path, options: Quantize) -> Base:
    save_graph(model, path)
    ranges = observe(model, placement_for(model, Quantize()).observed, NORMALIZATION, [images], 1)

    def batches(size: int) -> Any:
        return (images[i : i + size] for i in range(0, len(images), size))

    return Base(path, "0" * 64, options, ranges, batches, 1, Silent())


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    result: np.ndarray = make_session(path, 1).run(None, {"input": NORMALIZATION.apply(images)})[0]
    return result


def test_a_float_layer_has_no_cost(small: ir.Model, images: np.ndarray, tmp_path: Path) -> None:
    base = base_of(small, images, tmp_path / "a.onnx", HALF)
    done: list[None] = []
    reference = logits(base.path, images)
    plan = base.plan(Ranges(), "none")
    costs = layer_costs(base, plan, [images], reference, 1, lambda: done.append(None))
    assert [cost.layer for cost in costs] == ["conv1", "conv3", "gemm1"]
    assert all(cost.isolated_db is not None for cost in costs)
    assert len(done) == len(base.layers) == 4


def test_a_proposal_adds_to_the_recipes_own_layers(
    small: ir.Model, images: np.ndarray, tmp_path: Path
) -> None:
    tried: list[dict[str, str]] = []

    def make_base(options: Quantize) -> Base:
        tried.append(dict(options.layers))
        return base_of(small, images, tmp_path / f"{len(tried)}.onnx", options)

    base = base_of(small, images, tmp_path / "a.onnx", HALF)
    reference = -logits(base.path, images)  # which nothing can reach
    found = propose_layers(
        make_base, HALF, Ranges(), ["conv3"], [images], reference, 0.0, 1, lambda: None
    )
    assert (found.layers, found.reached) == (("conv3",), False)
    assert tried == [{"conv2": "float16"}, {"conv2": "float16", "conv3": "int16"}]
