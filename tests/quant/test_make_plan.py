from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.errors import NoFormError, StageError, UsageError
from pipeline.lower.render import render_tflite
from pipeline.quant.concat import unbalanced_concats
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.plan import Plan, load_plan, save_plan
from pipeline.recipe import Quantize, Ranges

Build = Callable[..., ir.Model]
Node = tuple[str, list[str], str, dict[str, Any]]

NORMALIZATION = Preprocess(size=8).normalization


def plan_of(model: ir.Model, images: np.ndarray, **options: object) -> Plan:
    quantize = Quantize(**{"ranges": Ranges(), **options})  # type: ignore[arg-type]
    tensors = placement_for(model, quantize).observed
    seen = observe(model, tensors, NORMALIZATION, [images], 1)
    assert isinstance(quantize.ranges, Ranges)
    return make_plan(model, "0" * 64, NORMALIZATION, seen, quantize, quantize.ranges)


@pytest.mark.parametrize("rule", ["minmax", "moving_average", "percentile", "mse", "entropy"])
def test_a_plan_is_the_same_to_the_byte_each_time(
    small: ir.Model, images: np.ndarray, tmp_path: Path, rule: str
) -> None:
    for name in ("a", "b"):
        plan = plan_of(small, images, ranges=Ranges(rule=rule))  # type: ignore[arg-type]
        save_plan(plan, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_plan(tmp_path / "a") == plan
    assert plan.activations["relu1"].source.startswith(rule)


def test_a_damaged_plan_is_an_error(small: ir.Model, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    save_plan(plan_of(small, images), path)
    for text in (path.read_text()[:-20], path.read_text().replace('"uint8"', '"uint9"'), "[]"):
        path.write_text(text)
        with pytest.raises(StageError, match="not a readable Plan"):
            load_plan(path)


def test_int8_weights_have_zero_point_zero_and_activations_share(
    small: ir.Model, images: np.ndarray
) -> None:
    plan = plan_of(small, images, data_type="int8", scheme="perchannel_symmetric_affine")
    for tensor in plan.weights.values():
        assert not any(tensor.zero_point)
    assert len(plan.weights["conv1_weight"].scale) == 6
    one = plan.activations["concat1"]
    for name in ("relu2", "conv3", "averagepool1"):
        assert plan.activations[name].scale == one.scale
        assert plan.activations[name].zero_point == one.zero_point


def test_a_large_bias_raises_the_weights_scale_until_it_fits(build, images: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    weight = np.full((2, 3, 1, 1), 1e-9, np.float32)
    weight[1] = 1.0
    bias = np.array([1000.0, 0.5], np.float32)
    for data_type, scheme in (
        ("int8", "perchannel_symmetric_affine"),
        ("int8", "dynamic_fixed_point"),
        ("uint8", "asymmetric_affine"),
    ):
        model = build(
            [("Conv", ["x", "w", "b"], "y", {})], {"w": weight, "b": bias}, output_shape=(2, 8, 8)
        )
        plan = plan_of(model, images, data_type=data_type, scheme=scheme)
        steps = bias / np.array(plan.biases["conv1"].scale)
        assert np.abs(steps).max() <= 2**30 * 1.001
    assert (
        "raised"
        in plan_of(
            build(
                [("Conv", ["x", "w", "b"], "y", {})],
                {"w": weight, "b": bias},
                output_shape=(2, 8, 8),
            ),
            images,
            data_type="int8",
            scheme="perchannel_symmetric_affine",
        )
        .weights["conv1_weight"]
        .source
    )


def test_layers_of_their_own_type(small: ir.Model, images: np.ndarray) -> None:
    plan = plan_of(small, images, layers={"conv1": "int16", "conv2": "float16"})
    assert plan.is_mixed
    assert plan.activations["relu1"].data_type == "int16"
    assert plan.activations["maxpool1"].data_type == "int16"  # shares with relu1
    assert plan.weights["conv1_weight"].data_type == "int16"
    assert "relu2" not in plan.activations
    assert "conv2_weight" not in plan.weights
    assert "conv2" not in plan.biases
    assert plan.activations["concat1"].data_type == "uint8"


@pytest.mark.parametrize(
    ("layer", "said"), [("conv9", "did you mean"), ("maxpool1", "type of its input")]
)
def test_a_layer_that_cannot_have_a_type(
    small: ir.Model, images: np.ndarray, layer: str, said: str
) -> None:
    with pytest.raises(UsageError, match=layer) as caught:
        plan_of(small, images, layers={layer: "int16"})
    assert said in str(caught.value)


def test_illegal_pairs_of_type_and_scheme_are_refused() -> None:
    for data_type, scheme in (
        ("uint8", "dynamic_fixed_point"),
        ("uint8", "perchannel_symmetric_affine"),
        ("int16", "asymmetric_affine"),
    ):
        with pytest.raises(ValueError, match="SyNAP knows no"):
            Quantize(data_type=data_type, scheme=scheme)  # type: ignore[arg-type]


INT8: dict[str, Any] = {"data_type": "int8", "scheme": "perchannel_symmetric_affine"}
POINTWISE = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)


def covered(plan: Plan, name: str) -> tuple[float, float]:
    scale, zero_point = plan.activations[name].scale[0], plan.activations[name].zero_point[0]
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def concat_of(build: Build, *, sigmoid_first: bool, wide: float = 20.0) -> ir.Model:
    branches: list[Node] = [
        ("Sigmoid", ["x"], "s", {}),
        ("Conv", ["x", "w"], "c", {}),
    ]
    nodes = [
        *(branches if sigmoid_first else branches[::-1]),
        ("Concat", ["s", "c"], "y", {"axis": 1}),
    ]
    return build(nodes, {"w": POINTWISE * np.float32(wide)}, output_shape=(6, 8, 8))


@pytest.mark.parametrize("sigmoid_first", [True, False])
@pytest.mark.parametrize("wide", [20.0, 0.01])
def test_a_fixed_scale_in_a_shared_one_is_only_one_of_the_ranges(
    build: Build,
    images: np.ndarray,
    sigmoid_first: bool,
    wide: float,
) -> None:
    model = concat_of(build, sigmoid_first=sigmoid_first, wide=wide)
    plan = plan_of(model, images, **INT8)
    names = ("sigmoid1", "conv1", "logits")
    assert len({(plan.activations[n].scale, plan.activations[n].zero_point) for n in names}) == 1
    low, high = covered(plan, "logits")
    half = plan.activations["logits"].scale[0]
    assert low <= -0.9 * wide
    assert high >= max(0.9 * wide, 1.0) - half
    with pytest.raises((NoFormError, StageError), match="sigmoid1"):
        render_tflite(model, plan, None)


def test_the_input_in_a_shared_scale_is_one_of_the_ranges(build: Build, images: np.ndarray) -> None:
    for factor in (20.0, 0.5):
        nodes = [("Conv", ["x", "w"], "c", {}), ("Concat", ["x", "c"], "y", {"axis": 1})]
        weight = {"w": POINTWISE * np.float32(factor)}
        plan = plan_of(build(nodes, weight, output_shape=(6, 8, 8)), images, **INT8)
        low, high = covered(plan, "conv1")
        assert plan.activations["input"].scale == plan.activations["conv1"].scale
        assert low <= -0.9 * max(factor, 1.0)
        assert high >= 0.7 * max(factor, 1.0)
        assert plan.normalization == NORMALIZATION  # the Concat adds no offset
        assert plan.biases["conv1"].correction is None


def test_unbalanced_branches_are_named_where_they_share_a_scale(
    build: Build,
    images: np.ndarray,
) -> None:
    nodes = [
        ("Conv", ["x", "w"], "a", {}),
        ("MaxPool", ["a"], "p", {"kernel_shape": [1, 1]}),
        ("Conv", ["x", "v"], "b", {}),
        ("Concat", ["p", "b"], "y", {"axis": 1}),
    ]
    constants = {"w": POINTWISE, "v": POINTWISE * np.float32(100)}
    for options in (INT8, {"data_type": "uint8"}):
        model = build(nodes, constants, output_shape=(6, 8, 8))
        plan = plan_of(model, images, **options)
        (line,) = unbalanced_concats(model.graph, plan)
        assert line.startswith("concat1: maxpool1 spans")


@pytest.mark.parametrize("operator", ["MaxPool", "Slice", "Transpose"])
def test_the_input_offset_reaches_a_layer_behind_what_moves_values(
    build: Build,
    images: np.ndarray,
    operator: str,
) -> None:
    inputs, attributes = {
        "MaxPool": (["x"], {"kernel_shape": [2, 2]}),
        "Slice": (["x", "from", "to"], {}),
        "Transpose": (["x"], {"perm": [0, 1, 3, 2]}),
    }[operator]
    limits = (
        {"from": np.array([0] * 4), "to": np.array([99, 99, 4, 4])} if operator == "Slice" else {}
    )
    nodes = [(operator, inputs, "m", attributes), ("Conv", ["m", "w"], "y", {})]
    size = {"MaxPool": 7, "Slice": 4, "Transpose": 8}[operator]
    model = build(nodes, {"w": POINTWISE, **limits}, output_shape=(3, size, size))
    plan = plan_of(model, images)
    assert plan.normalization.mean == (127 / 255,) * 3
    assert plan.biases["conv1"].correction == pytest.approx((-0.5 / 127.5,) * 3)


@pytest.mark.parametrize("first", ["Pad", "Mul", "MatMul", "Relu", "two", "float16"])
def test_an_input_offset_that_no_bias_takes_is_not_made(
    build: Build,
    images: np.ndarray,
    first: str,
) -> None:
    conv: Node = ("Conv", ["m", "w"], "y", {})
    nodes, constants, size = {
        "Pad": (
            [("Pad", ["x", "k"], "m", {}), conv],
            {"k": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
            10,
        ),
        "Mul": ([("Mul", ["x", "k"], "m", {}), conv], {"k": np.full(1, 2, np.float32)}, 8),
        "MatMul": ([("MatMul", ["x", "k"], "m", {}), conv], {"k": np.eye(8, dtype=np.float32)}, 8),
        "Relu": ([("Relu", ["x"], "m", {}), conv], {}, 8),
        "two": ([("Conv", ["x", "w"], "c", {}), ("Add", ["x", "c"], "y", {})], {}, 8),
        "float16": ([("Conv", ["x", "w"], "y", {})], {}, 8),
    }[first]
    model = build(nodes, {"w": POINTWISE, **constants}, output_shape=(3, size, size))
    layers = {"conv1": "float16"} if first == "float16" else {}
    plan = plan_of(model, images, layers=layers)
    assert plan.normalization == NORMALIZATION
    assert all(bias.correction is None for bias in plan.biases.values())


def test_a_layer_that_shares_its_scale_cannot_stay_float(
    small: ir.Model, images: np.ndarray
) -> None:
    for layer in ("conv2", "conv3", "concat1"):
        with pytest.raises(UsageError, match=f"{layer} cannot stay float16.* shares") as caught:
            plan_of(small, images, **INT8, layers={layer: "float16"})
        assert caught.value.where == "quantize.layers"
    plan = plan_of(small, images, **INT8, layers={"conv1": "float16"})
    assert not {"relu1", "maxpool1"} & set(plan.activations)  # a pool goes with its input


@pytest.mark.parametrize("operator", ["Sigmoid", "Softmax", "Tanh"])
def test_fixed_point_has_powers_of_two_and_zero_point_0(
    build: Build,
    images: np.ndarray,
    operator: str,
) -> None:
    nodes: list[Node] = [("Conv", ["x", "w"], "c", {}), (operator, ["c"], "y", {})]
    for data_type in ("int8", "int16"):
        model = build(nodes, {"w": POINTWISE}, output_shape=(3, 8, 8))
        plan = plan_of(model, images, data_type=data_type, scheme="dynamic_fixed_point")
        assert plan.normalization == NORMALIZATION
        assert plan.biases["conv1"].correction is None
        for tensor in plan.activations.values():
            assert tensor.zero_point == (0,)
            assert np.log2(tensor.scale[0]) % 1 == 0


def test_scales_of_a_stack_of_matrices_go_along_its_columns(
    build: Build,
    images: np.ndarray,
) -> None:
    weight = np.ones((3, 8, 5), np.float32) * np.float32(2.0) ** np.arange(5, dtype=np.float32)
    model = build([("MatMul", ["x", "w"], "y", {})], {"w": weight}, output_shape=(3, 8, 5))
    planned = plan_of(model, images, **INT8).weights["matmul1_weight"]
    assert planned.axis == 2
    assert planned.scale == pytest.approx(tuple(2.0 ** np.arange(5) / 127))
