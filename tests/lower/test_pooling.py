"""Pools, against ONNX Runtime and against exact integers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.lower.lowering import NoTfliteForm
from pipeline.lower.operators import Lowered

types = st.sampled_from(["uint8", "int8"])
seed = st.integers(0, 2**32 - 1)


@st.composite
def pools(draw: Any) -> dict[str, Any]:
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(2)],
        "pads": [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)],
        "ceil_mode": draw(st.integers(0, 1)),
    }
    size = [draw(st.integers(k, 11)) for k in kernel]
    return {"shape": (draw(st.integers(1, 5)), *size), "attributes": attributes}


def windows(case: dict[str, Any], x: np.ndarray, out: tuple[int, ...]) -> Any:
    """For every pixel of the result, what of the picture its window covers, and how much more of
    it is over padding."""
    attributes = case["attributes"]
    (height, width), (top, left) = x.shape[2:], attributes["pads"][:2]
    for row in range(out[2]):
        for column in range(out[3]):
            y = row * attributes["strides"][0] - top
            z = column * attributes["strides"][1] - left
            bottom, right = y + attributes["kernel_shape"][0], z + attributes["kernel_shape"][1]
            inside = x[:, :, max(y, 0) : min(bottom, height), max(z, 0) : min(right, width)]
            yield row, column, inside


def lies_in_the_picture(case: dict[str, Any], x: np.ndarray, out: tuple[int, ...]) -> bool:
    """ceil_mode can make windows that see padding only, for which there is no mean."""
    return all(inside.size for _, _, inside in windows(case, x, out))


@given(case=pools(), data_type=types, seed=seed)
@settings(max_examples=80, deadline=None)
def test_every_max_pool(ops: Any, case: dict[str, Any], data_type: str, seed: int) -> None:
    made = ops.both(
        [("MaxPool", ["x"], "y", case["attributes"])],
        {"x": case["shape"]},
        data_type=data_type,
        seed=seed,
    )
    for row, column, inside in windows(case, made.feeds["x"], made.tflite.shape):
        if inside.size:
            np.testing.assert_array_equal(made.tflite[:, :, row, column], inside.max(axis=(2, 3)))
    assert made.kinds[-1] == "MAX_POOL_2D" and len(made.kinds) <= 2


@given(case=pools(), data_type=types, seed=seed)
@settings(max_examples=120, deadline=None)
def test_every_average_pool_without_padding(
    ops: Any, case: dict[str, Any], data_type: str, seed: int
) -> None:
    nodes = [("AveragePool", ["x"], "y", {**case["attributes"], "count_include_pad": 0})]
    try:
        made = ops.both(nodes, {"x": case["shape"]}, data_type=data_type, seed=seed)
    except NoTfliteForm:
        event("refused")  # what has to be taken stands in the next test but one
        return
    x = made.feeds["x"]
    if lies_in_the_picture(case, x, made.tflite.shape):
        assert made.steps <= 1
        for row, column, inside in windows(case, x, made.tflite.shape):
            exact = inside.mean(axis=(2, 3))
            assert np.abs(made.tflite[:, :, row, column] - exact).max() <= 0.5


@given(case=pools(), data_type=types, seed=seed)
@settings(max_examples=80, deadline=None)
def test_every_average_pool_with_padding(
    ops: Any, case: dict[str, Any], data_type: str, seed: int
) -> None:
    case["attributes"]["ceil_mode"] = 0
    nodes = [("AveragePool", ["x"], "y", {**case["attributes"], "count_include_pad": 1})]
    made = ops.both(nodes, {"x": case["shape"]}, data_type=data_type, seed=seed)
    x, zero = made.feeds["x"], made.plan.activations["x"].zero_point[0]
    count = np.prod(case["attributes"]["kernel_shape"])
    assert made.steps <= 1
    for row, column, inside in windows(case, x, made.tflite.shape):
        exact = (inside - zero).sum(axis=(2, 3)) / count + zero
        assert np.abs(made.tflite[:, :, row, column] - exact).max() <= 0.5


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("shape", "attributes", "kinds"),
    [
        # Inception: symmetric pads at stride 1 are SAME.
        ((4, 35, 35), {"kernel_shape": [3, 3], "pads": [1] * 4}, ["AVERAGE_POOL_2D"]),
        ((4, 8, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}, ["AVERAGE_POOL_2D"]),
        # ResNet-D: windows that reach beyond an odd side.
        (
            (4, 7, 7),
            {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
            ["AVERAGE_POOL_2D"],
        ),
        # Symmetric pads at stride 2 of an even side: SAME would begin at the other end.
        (
            (4, 8, 8),
            {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
            ["AVERAGE_POOL_2D", "STRIDED_SLICE"],
        ),
    ],
)
def test_average_pools_of_real_models(
    ops: Any, shape: Any, attributes: Any, kinds: list[str], data_type: str
) -> None:
    nodes = [("AveragePool", ["x"], "y", {**attributes, "count_include_pad": 0})]
    made = ops.both(nodes, {"x": shape}, data_type=data_type)
    assert made.steps <= 1
    assert made.kinds == kinds


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "ReduceMean", "ReduceMeanFlat"])
@given(
    channels=st.integers(1, 9),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    data_type=types,
    reach=st.floats(0.3, 1.2),
    seed=seed,
)
@settings(max_examples=40, deadline=None)
def test_every_mean(
    ops: Any,
    kind: str,
    channels: int,
    size: tuple[int, int],
    data_type: str,
    reach: float,
    seed: int,
) -> None:
    options = {"ReduceMean": {"axes": [2, 3]}, "ReduceMeanFlat": {"axes": [-1, -2], "keepdims": 0}}
    node = (kind.removesuffix("Flat"), ["x"], "y", options.get(kind, {}))
    made = ops.both([node], {"x": (channels, *size)}, data_type=data_type, reach=reach, seed=seed)
    assert (made.steps <= 1, made.kinds) == (True, ["MEAN"])
    entry, out = made.plan.activations["x"], made.plan.activations["y"]
    real = ops.real_of(made.feeds["x"], entry).mean(axis=(2, 3), keepdims=kind != "ReduceMeanFlat")
    assert np.abs(made.tflite - ops.integers_of(real, out)).max() <= 1


def said(ops: Any, node: Any, shape: tuple[int, ...], **changes: Any) -> str:
    model = ops.graph_of([node], {"x": shape})
    feeds = {"x": ops.random_integers(np.random.default_rng(0), (1, *shape), "uint8")}
    entry = {"x": ops.tensor_plan("uint8", 0.02, 3)}
    plan = ops.plan_of(model, entry, feeds, data_type="uint8")
    plan = plan.model_copy(update={"activations": {**plan.activations, **changes}})
    with pytest.raises(StageError) as caught:
        Lowered(model, plan)
    return str(caught.value)


def test_max_pools_do_not_rescale(ops: Any) -> None:
    other = ops.tensor_plan("uint8", 0.03, 3)
    message = said(ops, ("MaxPool", ["x"], "y", {"kernel_shape": [2, 2]}), (2, 6, 6), y=other)
    assert message.startswith("MaxPool y: TFLite does not rescale here")
    assert "scale 0.02, zero point 3" in message and "scale 0.03, zero point 3" in message


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("finer", [0.4, 0.98, 1.9])
def test_a_mean_in_other_integers_is_within_a_step(
    ops: Any, data_type: str, include: int, finer: float
) -> None:
    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": include}
    model = ops.graph_of([("AveragePool", ["x"], "y", pads)], {"x": (4, 9, 9)})
    low = 0 if data_type == "uint8" else -128
    entry = {"x": ops.tensor_plan(data_type, 0.02, low + 100)}
    feeds = {"x": ops.random_integers(np.random.default_rng(3), (2, 4, 9, 9), data_type)}
    plan = ops.plan_of(model, entry, feeds, data_type=data_type)
    other = ops.tensor_plan(data_type, 0.02 / finer, low + 120)
    plan = plan.model_copy(update={"activations": {**plan.activations, "y": other}})
    made = Lowered(model, plan)
    assert made.kinds[-2:] == ["AVERAGE_POOL_2D", "QUANTIZE"]
    steps = ops.run_tflite(made.to_bytes({}), feeds) - ops.run_onnx(model, plan, feeds)
    assert np.abs(steps).max() <= 1
    assert np.abs(steps).mean() < 0.5


def test_a_mean_is_not_made_much_finer_than_it_is_computed(ops: Any) -> None:
    fine = ops.tensor_plan("uint8", 0.009, 3)
    pool = ("AveragePool", ["x"], "y", {"kernel_shape": [2, 2]})
    assert "up to 2 times as fine" in said(ops, pool, (2, 6, 6), y=fine)


def test_what_has_no_place(ops: Any) -> None:
    dilated = ("MaxPool", ["x"], "y", {"kernel_shape": [2, 2], "dilations": [2, 2]})
    assert said(ops, dilated, (2, 6, 6)).startswith("MaxPool y: TFLite has no dilated pools")
    channels = ("ReduceMean", ["x"], "y", {"axes": [1]})
    assert "only means over rows and columns" in said(ops, channels, (2, 6, 6))
    line = ("MaxPool", ["x"], "y", {"kernel_shape": [2]})
    assert "does not run over rows and columns" in said(ops, line, (2, 6))
    far = ("AveragePool", ["x"], "y", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]})
    assert "only where it is that of SAME" in said(ops, far, (2, 6, 6))
    ceil = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 1}
    assert "beyond the padding that counts" in said(
        ops, ("AveragePool", ["x"], "y", ceil), (2, 7, 7)
    )
