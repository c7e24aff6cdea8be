import numpy as np
import pytest

from pipeline.data.preprocess import Normalization
from pipeline.quant.input_range import plan_input
from pipeline.quant.plan import TYPES
from pipeline.quant.scheme import dequantize, quantize

INCEPTION = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
BYTES = np.arange(256, dtype=np.uint8)
CROPS = np.broadcast_to(BYTES[:, None, None, None], (256, 1, 1, 3)).copy()


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize("mean", [0.5, 128 / 255, 0.0])
def test_equal_channels_quantize_to_the_images_own_bytes(data_type: str, mean: float) -> None:
    normalization = Normalization(mean=(mean,) * 3, std=(0.5,) * 3)
    entry = plan_input(normalization, data_type, "asymmetric_affine", absorbs=True)  # type: ignore[arg-type]
    type = TYPES[data_type]
    reals = entry.normalization.apply(CROPS)[:, 0, 0, 0]
    scale, zero = np.array(entry.tensor.scale[0]), np.array(float(entry.tensor.zero_point[0]))
    assert np.array_equal(quantize(reals, scale, zero, type), BYTES.astype(int) + type.minimum)
    # What the integers lack of the real input is the same for every byte.
    lacking = normalization.apply(CROPS)[:, 0, 0, 0] - reals
    assert lacking == pytest.approx(np.full(256, entry.offset), abs=1e-6)


def test_inceptions_scale_and_zero_point() -> None:
    entry = plan_input(INCEPTION, "uint8", "asymmetric_affine", absorbs=True)
    assert entry.tensor.scale[0] == pytest.approx(1 / 127.5)
    assert entry.tensor.zero_point == (127,)
    assert entry.offset == pytest.approx(-0.5 / 127.5)


def test_unequal_channels_are_covered_whole() -> None:
    entry = plan_input(IMAGENET, "uint8", "asymmetric_affine", absorbs=True)
    reals = IMAGENET.apply(CROPS)
    assert entry.normalization == IMAGENET
    assert entry.offset == 0
    scale, zero = entry.tensor.scale[0], entry.tensor.zero_point[0]
    assert (0 - zero) * scale <= reals.min() + scale / 2
    assert (255 - zero) * scale >= reals.max() - scale / 2


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize("mean", [0.5, 0.3 / 255, 254.7 / 255])
def test_without_a_bias_to_take_it_the_input_has_no_offset(data_type: str, mean: float) -> None:
    normalization = Normalization(mean=(mean,) * 3, std=(0.5,) * 3)
    entry = plan_input(normalization, data_type, "asymmetric_affine", absorbs=False)  # type: ignore[arg-type]
    assert entry.normalization == normalization
    assert entry.offset == 0
    type = TYPES[data_type]
    reals = normalization.apply(CROPS)[:, 0, 0, 0].astype(np.float64)
    scale, zero = np.array(entry.tensor.scale[0]), np.array(float(entry.tensor.zero_point[0]))
    errors = dequantize(quantize(reals, scale, zero, type), scale, zero) - reals
    assert abs(errors.mean()) < 0.1 * scale
    assert abs(errors).max() <= 0.501 * scale
    assert scale <= 1.01 / 127.5


def test_a_whole_mean_needs_nothing_absorbed() -> None:
    normalization = Normalization(mean=(128 / 255,) * 3, std=(0.5,) * 3)
    bytes_, other = (
        plan_input(normalization, "uint8", "asymmetric_affine", absorbs=absorbs)
        for absorbs in (True, False)
    )
    assert bytes_ == other
