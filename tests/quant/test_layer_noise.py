"""Noise by layer, against the whole integer model and against layers made noisy on purpose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.check.metrics import sqnr_db
from pipeline.data.preprocess import Preprocess
from pipeline.graph.file import load_graph, save_graph
from pipeline.progress import Silent
from pipeline.quant.bias_correction import correct_sequentially, mean_results
from pipeline.quant.layer_noise import LayerNoise, find_spots, layer_noise
from pipeline.quant.layers import find_layers
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.plan import Plan, TensorPlan
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization


class Model:
    """A graph with its Plan; the Plan may be changed before it is measured."""

    def __init__(self, graph: ir.Model, images: np.ndarray, options: Quantize, folder: Path):
        self.images, self.path = images, folder / "graph.onnx"
        save_graph(graph, self.path)
        self.graph = load_graph(self.path)
        self.placement = placement_for(self.graph, options)
        seen = observe(self.graph, self.placement.observed, NORMALIZATION, [images], 1)
        self.plan = make_plan(self.graph, "0" * 64, NORMALIZATION, seen, options, Ranges())

    def rendered(self) -> ir.Model:
        graph = load_graph(self.path)
        render_qdq(graph, self.plan)
        return graph

    def noise(self, parts: int = 1) -> dict[str, LayerNoise]:
        layers = {layer.node: layer for layer in find_layers(self.graph, self.placement)}
        count = 0

        def done() -> None:
            nonlocal count
            count += 1

        found = layer_noise(
            self.graph, self.rendered(), self.plan, layers, NORMALIZATION,
            np.array_split(self.images, parts), 1, done,
        )  # fmt: skip
        assert count == parts * len(find_spots(self.graph, self.plan)) == parts * len(found)
        return {row.layer: row for row in found}


def coarser(plan: Plan, name: str, part: str) -> Plan:
    """The Plan with a tensor that has a sixteenth of the steps."""
    tensors: dict[str, TensorPlan] = getattr(plan, part)
    scale = tuple(16 * scale for scale in tensors[name].scale)
    changed = {**tensors, name: tensors[name].model_copy(update={"scale": scale})}
    return plan.model_copy(update={part: changed})


@pytest.fixture
def model(small: ir.Model, images: np.ndarray, tmp_path: Path) -> Model:
    return Model(small, images, Quantize(), tmp_path)


def test_every_layer_with_a_scale_of_its_own_is_there_in_graph_order(model: Model) -> None:
    operators = [row.operator for row in model.noise().values()]
    assert operators == ["Conv", "Conv", "Conv", "Concat", "GlobalAveragePool", "Gemm"]


def test_what_has_gathered_at_the_logits_is_the_noise_of_the_integer_model(model: Model) -> None:
    def logits(graph: ir.Model, normalization: object) -> np.ndarray:
        session = make_session(ir.to_proto(graph).SerializeToString(), 1)
        result: np.ndarray = session.run(None, {"input": normalization.apply(model.images)})[0]  # type: ignore[attr-defined]
        return result

    expected = sqnr_db(
        logits(model.rendered(), model.plan.normalization), logits(model.graph, NORMALIZATION)
    )
    rows = list(model.noise().values())
    assert rows[-1].tensor == "logits"
    assert rows[-1].cumulative_db == pytest.approx(expected, abs=1e-6)


def test_alone_is_no_worse_than_everything_up_to_there(model: Model) -> None:
    rows = list(model.noise().values())
    # Before the first layer nothing is quantized but its own input.
    assert rows[0].alone_db == pytest.approx(rows[0].cumulative_db, abs=0.1)
    assert all(25 < (row.alone_db or 0) < 80 for row in rows)


@pytest.mark.parametrize("part", ["activations", "weights"])
def test_a_layer_made_noisy_is_found_and_only_that_layer(model: Model, part: str) -> None:
    before = model.noise()
    victim = list(before.values())[1]
    layer = next(x for x in find_layers(model.graph, model.placement) if x.node == victim.layer)
    name = victim.tensor if part == "activations" else layer.weight_name
    model.plan = coarser(model.plan, name, part)
    after = model.noise()
    assert (after[victim.layer].alone_db or 0) < (before[victim.layer].alone_db or 0) - 8
    assert min(after.values(), key=lambda row: row.alone_db or 0).layer == victim.layer
    first = next(iter(before))
    assert after[first] == before[first]
    assert (after["gemm1"].cumulative_db or 0) < (before["gemm1"].cumulative_db or 0) - 3


def test_batches_do_not_matter(model: Model) -> None:
    whole, parts = model.noise(), model.noise(parts=3)
    for name, row in whole.items():
        assert parts[name].alone_db == pytest.approx(row.alone_db, abs=0.01)
        assert parts[name].cumulative_db == pytest.approx(row.cumulative_db, abs=0.1)


def test_a_layer_that_stays_float_makes_no_noise(
    small: ir.Model, images: np.ndarray, tmp_path: Path
) -> None:
    mixed = Model(small, images, Quantize(layers={"conv2": "float16"}), tmp_path)
    assert "conv2" not in mixed.noise()


def test_an_activation_made_of_comparisons_is_run_by_itself(
    build: Callable[..., ir.Model], images: np.ndarray, tmp_path: Path
) -> None:
    """Greater's result is no real number; both noise by layer and sequential correction run it."""
    random = np.random.default_rng(3)
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Conv", ["x", "w"], "c", {}),
        ("Greater", ["c", "zero"], "g", {}),
        ("Mul", ["c", "slope"], "m", {}),
        ("Where", ["g", "c", "m"], "a", {}),
        ("GlobalAveragePool", ["a"], "p", {}),
        ("Flatten", ["p"], "f", {"axis": 1}),
        ("Gemm", ["f", "v", "b"], "y", {"transB": 1}),
    ]
    constants = {
        "w": random.normal(0, 0.4, (5, 3, 1, 1)).astype(np.float32),
        "zero": np.array(0, np.float32), "slope": np.array(0.1, np.float32),
        "v": random.normal(0, 0.4, (4, 5)).astype(np.float32), "b": np.zeros(4, np.float32),
    }  # fmt: skip
    model = Model(build(nodes, constants, output_shape=(4,)), images, Quantize(), tmp_path)
    rows = model.noise(parts=2)
    assert {"Conv", "Gemm"} <= {row.operator for row in rows.values()}
    assert all((row.alone_db or 0) > 25 for row in rows.values())
    layers = find_layers(model.graph, model.placement)
    expected = mean_results(model.graph, layers, NORMALIZATION, images, 1)
    with Silent().bar("", 1) as bar:
        plan = correct_sequentially(model.graph, model.plan, layers, expected, images, 1, bar)
    assert any(bias.correction for bias in plan.biases.values())
