import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.quant.plan import weight_type
from pipeline.quant.scheme import along, dequantize, quantize
from pipeline.quant.weight_scale import scale_weights

SCHEMES = [
    ("uint8", "asymmetric_affine", None),
    ("int8", "asymmetric_affine", None),
    ("int8", "perchannel_symmetric_affine", 0),
    ("int8", "dynamic_fixed_point", None),
    ("int16", "dynamic_fixed_point", None),
]


def error(weight: np.ndarray, data_type: str, scheme: str, axis: int | None, rule: str) -> float:
    type = weight_type(data_type)  # type: ignore[arg-type]
    scales, zeros = scale_weights(weight, axis, type, scheme, rule)  # type: ignore[arg-type]
    assert np.all(scales > 0)
    if scheme != "asymmetric_affine" or data_type == "int8":
        assert not zeros.any()
    if scheme == "dynamic_fixed_point":
        assert np.all(np.log2(scales) == np.rint(np.log2(scales)))
    s, z = along(scales, axis, weight.ndim), along(zeros.astype(float), axis, weight.ndim)
    return float(np.sum((dequantize(quantize(weight, s, z, type), s, z) - weight) ** 2))


@pytest.mark.parametrize(("data_type", "scheme", "axis"), SCHEMES)
@given(seed=st.integers(0, 1000), tail=st.floats(1.5, 30))
@settings(max_examples=15, deadline=None)
def test_least_squares_never_errs_more_than_covering_everything(
    data_type: str, scheme: str, axis: int | None, seed: int, tail: float
) -> None:
    random = np.random.default_rng(seed)
    weight = random.standard_t(tail, (6, 5, 3, 3)).astype(np.float32)
    least = error(weight, data_type, scheme, axis, "mse")
    assert least <= 1.02 * error(weight, data_type, scheme, axis, "minmax")


def test_least_squares_gains_where_one_weight_is_far_out() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (1, 400_000)).astype(np.float32)
    weight[0, 7] = 12
    for data_type, scheme, axis in SCHEMES[:3]:
        covering = error(weight, data_type, scheme, axis, "minmax")
        assert error(weight, data_type, scheme, axis, "mse") < 0.9 * covering


def test_an_empty_channel_and_an_axis_in_the_middle() -> None:
    weight = np.random.default_rng(1).normal(0, 1, (4, 3)).astype(np.float32)
    weight[:, 1] = 0
    type = weight_type("int8")
    scales, _ = scale_weights(weight, 1, type, "perchannel_symmetric_affine", "minmax")
    assert scales[1] == 1.0
    assert scales[0] == pytest.approx(np.abs(weight[:, 0]).max() / 127)
