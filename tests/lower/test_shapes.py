"""Operators that only move integers: what comes out is what ONNX Runtime gives, to the bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.lower.operators import Lowered

types = st.sampled_from(["uint8", "int8"])
seed = st.integers(0, 2**32 - 1)
sides = st.integers(1, 4)


@st.composite
def reshapes(draw: Any) -> tuple[tuple[int, ...], list[int]]:
    """A shape without its batch, and another of as many values."""
    shape = tuple(draw(st.lists(sides, min_size=1, max_size=4)))
    left, target = int(np.prod(shape)), []
    for _ in range(draw(st.integers(0, 3))):
        side = draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0]))
        target.append(side)
        left //= side
    return shape, [*target, left]


@given(case=reshapes(), data_type=types, seed=seed)
@settings(max_examples=100, deadline=None)
def test_every_reshape(ops: Any, case: Any, data_type: str, seed: int) -> None:
    shape, target = case
    made = ops.both(
        [("Reshape", ["x", "to"], "y", {})],
        {"x": shape},
        {"to": np.array([0, *target])},
        data_type=data_type,
        seed=seed,
    )
    assert made.steps == 0
    assert made.kinds.count("RESHAPE") == 1


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("node", "shape", "kinds"),
    [
        (("Flatten", ["x"], "y", {"axis": 1}), (5, 1, 1), ["RESHAPE"]),
        (("Flatten", ["x"], "y", {"axis": 1}), (1, 3, 4), ["RESHAPE"]),
        (("Flatten", ["x"], "y", {"axis": 1}), (5, 3, 4), ["TRANSPOSE", "RESHAPE"]),
        (("Squeeze", ["x", "last"], "y", {}), (5, 1, 1), ["RESHAPE"]),
        (("Unsqueeze", ["x", "last"], "y", {}), (5,), ["RESHAPE"]),
    ],
)
def test_no_needless_transposes(
    ops: Any, node: Any, shape: Any, kinds: list[str], data_type: str
) -> None:
    constants = {"last": np.array([2, 3])} if len(node[1]) > 1 else {}
    made = ops.both([node], {"x": shape}, constants, data_type=data_type)
    assert (made.steps, made.kinds) == (0, kinds)


@given(shape=st.lists(sides, min_size=1, max_size=4), data=st.data(), data_type=types, seed=seed)
@settings(max_examples=60, deadline=None)
def test_every_transpose(
    ops: Any, shape: list[int], data: st.DataObject, data_type: str, seed: int
) -> None:
    order = data.draw(st.permutations(range(1, len(shape) + 1)))
    made = ops.both(
        [("Transpose", ["x"], "y", {"perm": [0, *order]})],
        {"x": shape},
        data_type=data_type,
        seed=seed,
    )
    assert (made.steps, made.kinds) == (0, ["TRANSPOSE"])


@given(shape=st.lists(sides, min_size=1, max_size=4), data=st.data(), data_type=types, seed=seed)
@settings(max_examples=60, deadline=None)
def test_every_slice(
    ops: Any, shape: list[int], data: st.DataObject, data_type: str, seed: int
) -> None:
    axis = data.draw(st.integers(1, len(shape)))
    side = shape[axis - 1]
    start = data.draw(st.integers(0, side - 1))
    end = data.draw(st.integers(start + 1, side))
    step = data.draw(st.integers(1, 3))
    negative = data.draw(st.booleans())
    constants = {
        "starts": np.array([start - side if negative else start]),
        "ends": np.array([2**62 if end == side else end]),
        "axes": np.array([axis - len(shape) - 1 if negative else axis]),
        "steps": np.array([step]),
    }
    made = ops.both(
        [("Slice", ["x", *constants], "y", {})],
        {"x": shape},
        constants,
        data_type=data_type,
        seed=seed,
    )
    assert (made.steps, made.kinds) == (0, ["STRIDED_SLICE"])


@given(
    shape=st.lists(sides, min_size=1, max_size=4),
    data=st.data(),
    equal=st.booleans(),
    data_type=types,
    seed=seed,
)
@settings(max_examples=60, deadline=None)
def test_every_split(
    ops: Any, shape: list[int], data: st.DataObject, equal: bool, data_type: str, seed: int
) -> None:
    """The parts, put together again the other way round."""
    axis = data.draw(st.integers(1, len(shape)))
    lengths = data.draw(st.lists(sides, min_size=2, max_size=5))
    lengths = [lengths[0]] * len(lengths) if equal else lengths
    shape[axis - 1] = sum(lengths)
    parts = [f"p{i}" for i in range(len(lengths))]
    given_axis = data.draw(st.sampled_from([axis, axis - len(shape) - 1]))
    is_said = not equal or data.draw(st.booleans())
    made = ops.both(
        [
            (
                "Split",
                ["x", "lengths"] if is_said else ["x"],
                " ".join(parts),
                {"axis": given_axis},
            ),
            ("Concat", parts[::-1], "y", {"axis": axis}),
        ],
        {"x": shape},
        {"lengths": np.array(lengths)} if is_said else {},
        data_type=data_type,
        seed=seed,
    )
    is_even = len(set(lengths)) == 1
    words = ["SPLIT"] if is_even else ["STRIDED_SLICE"] * len(lengths)
    pieces = np.split(made.feeds["x"], np.cumsum(lengths)[:-1], axis)
    assert made.kinds == [*words, "CONCATENATION"]
    joined = ops.real_of(np.concatenate(pieces[::-1], axis), made.plan.activations["x"])
    expected = ops.integers_of(joined, made.plan.activations["y"])
    rescales = data_type == "uint8"  # the concatenation; int8 is exact
    assert max(made.steps, np.abs(made.tflite - expected).max()) <= rescales


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize("lengths", [(2, 2), (1, 3)])
def test_parts_have_the_scale_of_the_whole(ops: Any, data_type: str, lengths: Any) -> None:
    """LiteRT copies the integers, whatever the scales say; parts that nobody reads are no matter."""
    nodes = [("Split", ["x", "lengths"], "l r", {"axis": 1}), ("Relu", ["r"], "y", {})]
    model = ops.graph_of(nodes, {"x": (4, 2, 2)}, {"lengths": np.array(lengths)})
    entry = {"x": ops.tensor_plan(data_type, 0.1, 0)}
    feeds = {"x": ops.random_integers(np.random.default_rng(0), (2, 4, 2, 2), data_type)}
    plan = ops.plan_of(model, entry, feeds, data_type=data_type)
    lowered = Lowered(model, plan)
    assert lowered.kinds == ["SPLIT" if lengths[0] == lengths[1] else "STRIDED_SLICE", "RELU"]
    made = ops.run_tflite(lowered.to_bytes({}), feeds)
    assert np.abs(made - ops.run_onnx(model, plan, feeds)).max() <= 1
    other = {**plan.activations, "r": ops.tensor_plan(data_type, 0.2, 0)}
    with pytest.raises(StageError, match="Split l: TFLite does not rescale here"):
        Lowered(model, plan.model_copy(update={"activations": other}))


@given(
    groups=st.integers(1, 3), each=sides, size=st.tuples(sides, sides), data_type=types, seed=seed
)
@settings(max_examples=20, deadline=None)
def test_channel_shuffle(
    ops: Any, groups: int, each: int, size: tuple[int, int], data_type: str, seed: int
) -> None:
    """Of five dimensions in between, as ShuffleNet has it."""
    made = ops.both(
        [
            ("Reshape", ["x", "apart"], "a", {}),
            ("Transpose", ["a"], "t", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", ["t", "together"], "y", {}),
        ],
        {"x": (groups * each, *size)},
        {"apart": np.array([0, groups, each, *size]), "together": np.array([0, -1, *size])},
        data_type=data_type,
        seed=seed,
    )
    assert made.steps == 0


@given(
    channels=st.lists(st.integers(1, 5), min_size=2, max_size=6),
    flat=st.booleans(),
    data_type=types,
    reach=st.floats(0.3, 1.2),
    seed=seed,
)
@settings(max_examples=80, deadline=None)
def test_every_concat(
    ops: Any, channels: list[int], flat: bool, data_type: str, reach: float, seed: int
) -> None:
    """uint8 branches have scales of their own, int8 ones share one."""
    inputs = {f"x{i}": (count,) if flat else (count, 3, 2) for i, count in enumerate(channels)}
    axis = -1 if flat else 1
    made = ops.both(
        [("Concat", list(inputs), "y", {"axis": axis})],
        inputs,
        data_type=data_type,
        reach=reach,
        seed=seed,
        share=data_type == "int8",
    )
    assert (made.steps <= (data_type == "uint8"), made.kinds) == (True, ["CONCATENATION"])
    out = made.plan.activations["y"]
    real = [ops.real_of(made.feeds[name], made.plan.activations[name]) for name in inputs]
    exact = ops.integers_of(np.concatenate(real, axis=axis), out)
    assert np.abs(made.tflite - exact).max() <= 1


@given(
    pads=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    fill=st.sampled_from([None, 0.0, 0.7, -50.0, -np.inf]),
    data_type=types,
    seed=seed,
)
@settings(max_examples=60, deadline=None)
def test_every_pad(
    ops: Any, pads: list[int], fill: float | None, data_type: str, seed: int
) -> None:
    pads[0] = pads[4] = 0  # the batch is fixed
    constants = {"pads": np.array(pads)}
    if fill is not None:
        constants["fill"] = np.array(fill, np.float32)
    made = ops.both(
        [("Pad", ["x", *constants], "y", {})],
        {"x": (3, 4, 2)},
        constants,
        data_type=data_type,
        seed=seed,
    )
    assert made.steps == 0
    assert made.kinds in ([["PAD"]] if not fill else [["PAD"], ["PADV2"]])


def said(ops: Any, node: Any, inputs: Any, constants: Any = None, **options: Any) -> str:
    nodes = node if isinstance(node, list) else [node]
    with pytest.raises(StageError) as caught:
        ops.both(nodes, inputs, constants, data_type="int8", **options)
    return str(caught.value)


def test_what_has_no_place(ops: Any) -> None:
    image = {"x": (2, 6, 6)}
    backwards = {"starts": [5], "ends": [0], "axes": [2], "steps": [-1]}
    constants = {name: np.array(value) for name, value in backwards.items()}
    message = said(ops, ("Slice", ["x", *constants], "y", {}), image, constants)
    assert message.startswith("Slice y: its step is -1; only steps forward are known")
    mirrored = ("Pad", ["x", "pads"], "y", {"mode": "reflect"})
    pads = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    assert "only padding by a constant is known" in said(ops, mirrored, image, pads)
    cropped = {"pads": np.array([0, 0, -1, 0, 0, 0, 0, 0])}
    assert "its pads are negative" in said(ops, ("Pad", ["x", "pads"], "y", {}), image, cropped)


def test_int8_branches_share_a_scale(ops: Any) -> None:
    node = ("Concat", ["x", "z"], "y", {"axis": 1})
    message = said(ops, node, {"x": (2, 3, 3), "z": (2, 3, 3)})
    assert message.startswith("Concat y: TFLite does not rescale here")


def test_everything_unknown_is_said_at_once(ops: Any) -> None:
    nodes = [("Erf", ["x"], "a", {}), ("Sin", ["a"], "b", {}), ("Erf", ["b"], "y", {})]
    model = ops.graph_of(nodes, {"x": (3,)})
    entry = {"x": ops.tensor_plan("int8", 0.01, 0)}
    plan = ops.plan_of(model, entry, {"x": np.array([[1, 2, 3]])}, data_type="int8")
    model.graph.node("b").doc_string = "/blocks/Sin"
    expected = r"no place in TFLite for 2 x Erf \(first a\); 1 x Sin \(first b, /blocks/Sin\)"
    with pytest.raises(StageError, match=expected) as caught:
        Lowered(model, plan)
    assert "compile.handoff: onnx" in caught.value.hint


def test_attention_is_said_with_the_rest(ops: Any) -> None:
    nodes = [
        ("Erf", ["x"], "a", {}),
        ("Transpose", ["a"], "t", {"perm": [0, 2, 1]}),
        ("MatMul", ["x", "t"], "y", {}),
    ]
    message = said(ops, nodes, {"x": (3, 4)})
    assert "no place in TFLite for 1 x Erf (first a); 1 x MatMul of two activations (f" in message
