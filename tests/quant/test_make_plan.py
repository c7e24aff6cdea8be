from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError, UsageError
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.plan import Plan, load_plan, save_plan
from pipeline.recipe import Quantize, Ranges

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
