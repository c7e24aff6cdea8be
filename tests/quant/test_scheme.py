import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from pipeline.quant.scheme import (
    INT8,
    INT8_SYMMETRIC,
    INT16,
    UINT8,
    IntegerType,
    asymmetric,
    dequantize,
    power_of_two,
    quantize,
    symmetric,
)
from pipeline.runners.onnx import make_session

BOUNDS = st.floats(-1e6, 1e6, width=32)
TYPES = st.sampled_from([UINT8, INT8, INT16])


@given(BOUNDS, BOUNDS, TYPES)
def test_zero_is_exact_and_the_range_is_covered_to_half_a_step(
    one: float, other: float, type: IntegerType
) -> None:
    low, high = sorted((one, other))
    scale, zero_point = asymmetric(low, high, type)
    assert type.minimum <= zero_point <= type.maximum
    assert scale == float(np.float32(scale))
    reals = np.array([0.0, low, high, (low + high) / 2])
    s, z = np.array(scale), np.array(float(zero_point))
    back = dequantize(quantize(reals, s, z, type), s, z)
    assert back[0] == 0.0
    # The nudged zero point moves an end by half a step, rounding by another half.
    assert np.all(np.abs(back - reals) <= scale * 1.0001 + 1e-30)


@given(st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=8))
def test_symmetric_scales_cover_the_magnitudes(magnitudes: list[float]) -> None:
    array = np.array(magnitudes)
    scales = symmetric(array, INT8_SYMMETRIC)
    assert np.all(scales > 0)
    assert np.all(scales * 127 >= array * (1 - 1e-6) - 1e-30)
    assert np.all(scales[array == 0] == 1.0)


@given(st.lists(st.floats(1e-20, 1e10), min_size=1, max_size=8), TYPES)
def test_powers_of_two_are_the_least_that_cover(magnitudes: list[float], type: IntegerType) -> None:
    array = np.array(magnitudes)
    scales = power_of_two(array, type)
    assert np.all(np.log2(scales) == np.rint(np.log2(scales)))
    assert np.all(scales * type.maximum >= array * (1 - 1e-12))
    assert np.all(scales / 2 * type.maximum < array)


@pytest.mark.parametrize(("type", "tensor"), [(UINT8, "UINT8"), (INT8, "INT8")])
def test_rounding_and_saturation_are_onnx_runtimes(type: IntegerType, tensor: str) -> None:
    reals = np.concatenate(
        [np.arange(-300, 300) * 0.25, np.random.default_rng(0).normal(0, 60, 2000)]
    ).astype(np.float32)
    scale, zero_point = 0.5, 7
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", getattr(onnx.TensorProto, tensor), [None])],
        [
            numpy_helper.from_array(np.float32(scale), "s"),
            numpy_helper.from_array(np.array(zero_point, type.dtype), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    expected = make_session(model.SerializeToString(), 1).run(None, {"x": reals})[0]
    ours = quantize(reals, np.array(scale), np.array(float(zero_point)), type)
    assert np.array_equal(ours, expected)
