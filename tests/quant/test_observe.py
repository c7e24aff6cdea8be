from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.quant import observe as module
from pipeline.quant.observe import activation_bytes, batch_size, load_ranges, observe, save_ranges
from pipeline.quant.placement import place
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization


def values_of(model: ir.Model, name: str, images: np.ndarray) -> np.ndarray:
    """A tensor's values, by a graph that ends in it."""
    proto = ir.to_proto(model)
    value = next(v for v in [*proto.graph.value_info, *proto.graph.output] if v.name == name)
    del proto.graph.output[:]
    proto.graph.output.append(value)
    feed = {"input": NORMALIZATION.apply(images)}
    return make_session(proto.SerializeToString(), 1).run(None, feed)[0]


def test_bounds_and_counts_are_those_of_the_real_tensors(
    small: ir.Model, images: np.ndarray
) -> None:
    tensors = place(small.graph, concat_shares=False).observed
    seen = observe(small, tensors, NORMALIZATION, [images[:5], images[5:]], 1)
    for name in tensors:
        values = NORMALIZATION.apply(images) if name == "input" else values_of(small, name, images)
        assert seen[name].minimum == values.min()
        assert seen[name].maximum == values.max()
        expected = np.histogram(values, seen[name].edges())[0]
        assert np.array_equal(seen[name].counts, expected)


def test_a_tensor_with_another_axis_before_the_batch(build: Any, images: np.ndarray) -> None:
    # As attention has it: queries, keys and values in front of the images.
    nodes = [
        ("Transpose", ["x"], "t", {"perm": [1, 0, 2, 3]}),
        ("Relu", ["t"], "r", {}),
        ("Transpose", ["r"], "y", {"perm": [1, 0, 2, 3]}),
    ]
    model = build(nodes, {}, output_shape=(3, 8, 8))
    seen = observe(model, ["relu1", "input"], NORMALIZATION, [images[:5], images[5:]], 1)
    values = NORMALIZATION.apply(images)
    assert (seen["input"].minimum, seen["input"].maximum) == (values.min(), values.max())
    assert (seen["relu1"].minimum, seen["relu1"].maximum) == (0.0, values.max())
    assert seen["relu1"].counts.sum() == values.size


def test_a_graph_is_left_as_it_was(small: ir.Model, images: np.ndarray) -> None:
    before = ir.to_proto(small).SerializeToString()
    observe(small, ["relu1"], NORMALIZATION, [images], 1)
    assert ir.to_proto(small).SerializeToString() == before
    assert len(small.graph.outputs) == 1


def test_batches_do_not_matter(small: ir.Model, images: np.ndarray) -> None:
    tensors = place(small.graph, concat_shares=False).observed
    one = observe(small, tensors, NORMALIZATION, [images], 1)
    many = observe(small, tensors, NORMALIZATION, [images[i : i + 1] for i in range(12)], 1)
    for name in tensors:
        assert np.array_equal(one[name].counts, many[name].counts)
        assert one[name].average_maximum == pytest.approx(many[name].average_maximum, rel=1e-5)


def test_the_subsample_represents_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting every 31st value of a large tensor moves no quantile by more than 0.15 deviations."""
    values = np.random.default_rng(0).normal(0, 1, (2, 64, 40, 40)).astype(np.float32)
    values *= np.linspace(0.5, 2, 64, dtype=np.float32)[None, :, None, None]  # unlike channels
    part, whole = module.Histogram(), module.Histogram()
    seen = {"x": module._look({"x": values}, "x")}
    module._count({"x": part}, {"x": ["x"]}, seen, "x")
    monkeypatch.setattr(module, "FULL_COUNT", values.size)
    module._count({"x": whole}, {"x": ["x"]}, seen, "x")
    assert part.counts.sum() * 31 == pytest.approx(whole.counts.sum(), rel=0.01)
    assert (part.minimum, part.maximum) == (whole.minimum, whole.maximum)
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        quantiles = [
            h.edges()[np.searchsorted(np.cumsum(h.counts), share * h.counts.sum())]
            for h in (part, whole)
        ]
        assert quantiles[0] == pytest.approx(quantiles[1], abs=0.15 * float(values.std()))


def test_not_a_number_is_an_error_that_names_the_tensor(build, images: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    weight = np.full((2, 3, 1, 1), 3e38, np.float32)
    nodes = [
        ("Conv", ["x", "w"], "c", {}),
        ("Conv", ["c", "v"], "y", {}),
    ]
    constants = {"w": weight, "v": np.full((2, 2, 1, 1), 3e38, np.float32)}
    model = build(nodes, constants, output_shape=(2, 8, 8))
    with pytest.raises(StageError, match=r"conv1|logits"):
        observe(model, ["conv1", "logits"], NORMALIZATION, [images], 1)


def test_ranges_survive_the_file(small: ir.Model, images: np.ndarray, tmp_path: Path) -> None:
    seen = observe(small, ["input", "relu1"], NORMALIZATION, [images], 1)
    save_ranges(seen, tmp_path / "r.npz")
    back = load_ranges(tmp_path / "r.npz")
    assert list(back) == ["input", "relu1"]
    for name, histogram in seen.items():
        other = back[name]
        assert np.array_equal(other.counts, histogram.counts)
        other.counts = histogram.counts
        assert (
            other.__dict__.items()
            >= {k: v for k, v in histogram.__dict__.items() if k != "counts"}.items()
        )


def test_the_batch_is_what_the_budget_allows(
    small: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = activation_bytes(small, ["relu1"])
    assert each == 4 * 6 * 8 * 8
    monkeypatch.setattr(module, "BATCH_MEMORY", 3 * each)
    assert batch_size(small, ["relu1"]) == 3
    monkeypatch.setattr(module, "BATCH_MEMORY", each // 2)
    assert batch_size(small, ["relu1"]) == 1
