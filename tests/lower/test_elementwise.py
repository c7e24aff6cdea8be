"""Operators that work value by value, against ONNX Runtime and against exact real numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.lower.lowering import NoTfliteForm
from pipeline.lower.operators import Lowered

types = st.sampled_from(["uint8", "int8"])
seed = st.integers(0, 2**32 - 1)
reaches = st.floats(0.3, 1.2)
shapes = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), st.tuples(st.integers(1, 9))
)
BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


@pytest.mark.parametrize("kind", BINARY)
@given(
    shape=shapes,
    gate=st.booleans(),
    relu=st.booleans(),
    data_type=types,
    reach=reaches,
    seed=seed,
)
@settings(max_examples=60, deadline=None)
def test_two_activations(
    ops: Any,
    kind: str,
    shape: tuple[int, ...],
    gate: bool,
    relu: bool,
    data_type: str,
    reach: float,
    seed: int,
) -> None:
    """`gate`: the second one has a value for every channel only, as squeeze-and-excite has."""
    other = (shape[0], 1, 1) if gate and len(shape) == 3 else shape
    fused = relu and kind == "Add"
    nodes: list[Any] = [(kind, ["x", "z"], "a" if fused else "y", {})]
    nodes += [("Relu", ["a"], "y", {})] if fused else []
    try:
        made = ops.both(
            nodes, {"x": shape, "z": other}, data_type=data_type, reach=reach, seed=seed
        )
    except NoTfliteForm:
        event("refused")  # sums that hardly ever exceed zero; see below
        return
    assert (made.steps <= 1, made.kinds) == (True, [kind.upper()])
    x, z = (ops.real_of(made.feeds[name], made.plan.activations[name]) for name in "xz")
    real = BINARY[kind](x, z)
    exact = ops.integers_of(np.maximum(real, 0) if fused else real, made.plan.activations["y"])
    assert np.abs(made.tflite - exact).max() <= 1


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("constant", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (4, 3, 3)])
@given(first=st.booleans(), data_type=types, seed=seed)
@settings(max_examples=10, deadline=None)
def test_an_activation_and_a_constant(
    ops: Any, kind: str, constant: tuple[int, ...], first: bool, data_type: str, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(0, 1, constant).astype(np.float32)
    names = ["k", "x"] if first else ["x", "k"]
    made = ops.both(
        [(kind, names, "y", {})],
        {"x": (4, 3, 3)},
        {"k": np.asarray(values)},
        data_type=data_type,
        seed=seed,
    )
    assert (made.steps <= 1, made.kinds) == (True, [kind.upper()])


@pytest.mark.parametrize("kind", ["Relu", "Relu6", "Relu1", "Saturated"])
@given(shape=shapes, data_type=types, reach=st.floats(0.2, 1.0), seed=seed)
@settings(max_examples=25, deadline=None)
def test_activations_on_their_own(
    ops: Any, kind: str, shape: tuple[int, ...], data_type: str, reach: float, seed: int
) -> None:
    bounds = {"Relu6": (0, 6), "Relu1": (-1, 1), "Saturated": (-1e3, 1e3)}.get(kind)
    node: Any = ("Relu", ["x"], "y", {})
    constants = {}
    if bounds is not None:
        node = ("Clip", ["x", "low", "high"], "y", {})
        constants = {"low": np.float32(bounds[0]), "high": np.float32(bounds[1])}
        constants = {name: np.asarray(value) for name, value in constants.items()}
    made = ops.both([node], {"x": shape}, constants, data_type=data_type, reach=reach, seed=seed)
    words = {"Relu": "RELU", "Relu6": "RELU6", "Relu1": "RELU_N1_TO_1", "Saturated": "QUANTIZE"}
    assert (made.steps <= 1, made.kinds) == (True, [words[kind]])


@given(
    shape=shapes,
    alpha=st.one_of(st.none(), st.sampled_from([0.0, 0.1, 1.0]), st.floats(-1, 2)),
    data_type=types,
    reach=st.floats(0.01, 20),
    seed=seed,
)
@settings(max_examples=60, deadline=None)
def test_leaky_relu(
    ops: Any, shape: tuple[int, ...], alpha: float | None, data_type: str, reach: float, seed: int
) -> None:
    """ONNX's own part of what is negative is a hundredth."""
    attributes = {} if alpha is None else {"alpha": alpha}
    node = ("LeakyRelu", ["x"], "y", attributes)
    made = ops.both([node], {"x": shape}, data_type=data_type, reach=reach, seed=seed)
    assert (made.steps <= 1, made.kinds) == (True, ["LEAKY_RELU"])
    real = ops.real_of(made.feeds["x"], made.plan.activations["x"])
    part = np.float32(0.01 if alpha is None else alpha)
    exact = ops.integers_of(np.where(real < 0, part * real, real), made.plan.activations["y"])
    assert np.abs(made.tflite - exact).max() <= 1


def test_leaky_relu_is_not_fused(ops: Any) -> None:
    """TFLite has no such fused activation, so the layer before it has integers of its own."""
    nodes = [("Conv", ["x", "w"], "c", {}), ("LeakyRelu", ["c"], "y", {"alpha": 0.1})]
    weights = {"w": np.random.default_rng(1).normal(0, 1, (3, 2, 1, 1)).astype(np.float32)}
    made = ops.both(nodes, {"x": (2, 4, 4)}, weights, data_type="uint8")
    assert (made.steps <= 1, made.kinds) == (True, ["CONV_2D", "LEAKY_RELU"])
    assert made.plan.activations["c"] != made.plan.activations["y"]


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "Softmax"])
@given(shape=shapes, data_type=types, seed=seed)
@settings(max_examples=40, deadline=None)
def test_functions_of_a_fixed_scale(
    ops: Any, kind: str, shape: tuple[int, ...], data_type: str, seed: int
) -> None:
    # The only class is certain: ONNX Runtime's integer kernel gives 0 for it, which 256 wraps to.
    assume(kind != "Softmax" or shape[0] > 1)
    attributes = {"axis": 1} if kind == "Softmax" else {}
    made = ops.both([(kind, ["x"], "y", attributes)], {"x": shape}, data_type=data_type, seed=seed)
    words = {"Sigmoid": "LOGISTIC", "Tanh": "TANH", "Softmax": "SOFTMAX"}
    assert (made.steps <= 1, made.kinds) == (True, [words[kind]])


HARD_SIGMOID = {"alpha": 1 / 6, "beta": 0.5}


@given(shape=shapes, data_type=types, reach=st.floats(0.5, 1.1), seed=seed)
@settings(max_examples=60, deadline=None)
def test_hard_sigmoid(
    ops: Any, shape: tuple[int, ...], data_type: str, reach: float, seed: int
) -> None:
    try:
        made = ops.both(
            [("HardSigmoid", ["x"], "y", HARD_SIGMOID)],
            {"x": shape},
            data_type=data_type,
            reach=reach,
            seed=seed,
        )
    except NoTfliteForm:
        event("refused")  # a result that is hardly ever more than 0; see below
        return
    assert (made.steps <= 1, made.kinds) == (True, ["ADD", "MUL"])


@given(shape=shapes, data_type=types, reach=reaches, first=st.booleans(), seed=seed)
@settings(max_examples=60, deadline=None)
def test_hard_swish_where_the_plan_keeps_it_whole(
    ops: Any, shape: tuple[int, ...], data_type: str, reach: float, first: bool, seed: int
) -> None:
    """The Plan leaves the gate float: it never exists as integers."""
    random = np.random.default_rng(seed)
    nodes: list[Any] = [
        ("HardSigmoid", ["x"], "h", HARD_SIGMOID),
        ("Mul", ["h", "x"] if first else ["x", "h"], "y", {}),
    ]
    model = ops.graph_of(nodes, {"x": shape})
    low = -128 if data_type == "int8" else 0
    scale = float(random.uniform(0.01, 0.1))
    entry = {"x": ops.tensor_plan(data_type, scale, low + int(random.integers(0, 256)))}
    feeds = {"x": ops.random_integers(random, (2, *shape), data_type)}
    plan = ops.plan_of(model, entry, feeds, data_type=data_type, reach=reach)
    kept = {name: tensor for name, tensor in plan.activations.items() if name != "h"}
    plan = plan.model_copy(update={"activations": kept})
    assume(plan.activations["y"].scale[0] * 128 > scale)
    lowered = Lowered(model, plan)
    made = ops.run_tflite(lowered.to_bytes({}), feeds)
    assert lowered.kinds == ["HARD_SWISH"]
    assert np.abs(made - ops.run_onnx(model, plan, feeds)).max() <= 1
    real = ops.real_of(feeds["x"], entry["x"])
    exact = ops.integers_of(real * np.clip(real / 6 + 0.5, 0, 1), plan.activations["y"])
    assert np.abs(made - exact).max() <= 1


def test_mul_has_the_version_that_its_scales_need(ops: Any) -> None:
    def version(data_type: str, scale: float) -> int:
        model = ops.graph_of([("Mul", ["x", "z"], "y", {})], {"x": (3,), "z": (3,)})
        entry = {name: ops.tensor_plan(data_type, 0.1, 0) for name in "xz"}
        feeds = {name: np.array([[1, 2, 3]]) for name in "xz"}
        plan = ops.plan_of(model, entry, feeds, data_type=data_type)
        activations = {**plan.activations, "y": ops.tensor_plan(data_type, scale, 0)}
        plan = plan.model_copy(update={"activations": activations})
        return ops.codes(Lowered(model, plan).to_bytes({}))[0][1]

    assert [version("uint8", scale) for scale in (0.02, 0.005)] == [1, 3]
    assert [version("int8", scale) for scale in (0.02, 0.005)] == [2, 3]


def said(ops: Any, nodes: list[Any], inputs: Any, constants: Any = None) -> str:
    with pytest.raises(StageError) as caught:
        ops.both(nodes, inputs, constants, data_type="uint8")
    return str(caught.value)


def test_what_has_no_place(ops: Any) -> None:
    nodes = [("Conv", ["x", "w"], "c", {}), ("Clip", ["c", "low", "high"], "y", {})]
    constants = {
        "w": np.ones((2, 2, 1, 1), np.float32),
        "low": np.array(-0.1, np.float32),
        "high": np.array(0.1, np.float32),
    }
    model = ops.graph_of(nodes, {"x": (2, 4, 4)}, constants)
    entry = {"x": ops.tensor_plan("uint8", 0.02, 100)}
    feeds = {"x": ops.random_integers(np.random.default_rng(0), (1, 2, 4, 4), "uint8")}
    plan = ops.plan_of(model, entry, feeds, data_type="uint8")
    assert Lowered(model, plan).kinds == ["CONV_2D"]  # the integers end at the bounds themselves
    wide = {**plan.activations, "y": ops.tensor_plan("uint8", 0.05, 100)}
    with pytest.raises(StageError, match=r"Clip y: TFLite has no activation from -0.1 to 0.1"):
        Lowered(model, plan.model_copy(update={"activations": wide}))
    sigmoid = [("HardSigmoid", ["x"], "y", {"alpha": 0.2})]
    assert "only as relu6(x + 3) / 6" in said(ops, sigmoid, {"x": (3,)})
    softmax = [("Softmax", ["x"], "y", {"axis": 2})]
    assert "over the channels only, not over axis 2" in said(ops, softmax, {"x": (3, 4, 4)})
    mixed = [("Add", ["x", "z"], "y", {})]
    assert "z has fewer dimensions" in said(ops, mixed, {"x": (3, 1, 4), "z": (4,)})


def test_functions_have_the_scale_of_the_specification(ops: Any) -> None:
    for kind in ("Sigmoid", "Tanh", "Softmax"):
        model = ops.graph_of([(kind, ["x"], "y", {})], {"x": (3,)})
        feeds = {"x": np.array([[1, 2, 3]])}
        plan = ops.plan_of(model, {"x": ops.tensor_plan("int8", 0.1, 0)}, feeds, data_type="int8")
        other = {**plan.activations, "y": ops.tensor_plan("int8", 1 / 255, -128)}
        with pytest.raises(StageError, match=f"{kind} y: TFLite has scale .* for its result"):
            Lowered(model, plan.model_copy(update={"activations": other}))


@pytest.mark.parametrize(
    ("kind", "limit"), [("Add", 256), ("Sub", 256), ("HardSwish", 128), ("LeakyRelu", 65536)]
)
def test_a_result_much_finer_than_its_input(ops: Any, kind: str, limit: int) -> None:
    """As far as it is taken it is right; beyond, LiteRT's kernels overflow or refuse."""
    inputs = {"x": (64,), "z": (64,)}
    nodes: list[Any] = [(kind, ["x", "z"], "y", {})]
    if kind in ("HardSwish", "LeakyRelu"):
        inputs = {"x": (64,)}
        nodes = [(kind, ["x"], "y", {})]
    if kind == "HardSwish":
        nodes = [("HardSigmoid", ["x"], "h", HARD_SIGMOID), ("Mul", ["x", "h"], "y", {})]
    model = ops.graph_of(nodes, inputs)
    random = np.random.default_rng(0)
    feeds = {name: ops.random_integers(random, (4, 64), "uint8") for name in inputs}
    entry = {name: ops.tensor_plan("uint8", 0.05, 128) for name in inputs}
    plan = ops.plan_of(model, entry, feeds, data_type="uint8")

    def with_scale(scale: float) -> Any:
        activations = {**entry, "y": ops.tensor_plan("uint8", scale, 100)}
        return plan.model_copy(update={"activations": activations})

    fine = with_scale(0.05 / limit * 1.01)
    made = ops.run_tflite(Lowered(model, fine).to_bytes({}), feeds)
    assert np.abs(made - ops.run_onnx(model, fine, feeds)).max() <= 1
    with pytest.raises(StageError, match=f"computes it up to {limit} times as fine"):
        Lowered(model, with_scale(0.05 / limit * 0.99))
