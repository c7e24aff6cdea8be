"""The geometry and the normalization are held bit for bit to timm's own evaluation transform."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.preprocess import Preprocess
from pipeline.sources.torchvision_ops import make_torchvision_importable

INTERPOLATIONS = ["bilinear", "bicubic", "nearest"]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CROPS = st.floats(0.3, 1.0) | st.sampled_from([1.0, math.nextafter(1.0, 0.0), 0.875, 0.9])


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def timm_transform() -> Callable[[Preprocess], Any]:
    make_torchvision_importable()
    from timm.data.transforms_factory import create_transform

    def build(preprocess: Preprocess) -> Any:
        return create_transform(
            (3, preprocess.size, preprocess.size),
            is_training=False,
            interpolation=preprocess.interpolation,
            crop_pct=preprocess.crop,
            mean=preprocess.mean,
            std=preprocess.std,
        )

    return build


def assert_same(
    timm_transform: Callable[[Preprocess], Any], p: Preprocess, image: Image.Image
) -> None:
    # timm's own readers convert to RGB before the transform.
    theirs = timm_transform(p)(image.convert("RGB")).numpy()
    crop = p.crop_image(image)
    assert crop.shape == (p.size, p.size, 3) and crop.dtype == np.uint8
    ours = p.normalization.apply(crop[None])[0]
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("width", "height"),
    [
        *[(500, 375), (375, 500), (341, 341), (341, 400), (400, 341), (299, 299), (342, 341)],
        *[(20, 30), (30, 20), (1, 1), (1, 7), (7, 1), (900, 40), (40, 900), (298, 300)],
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"size": 299, "crop": 0.875},
        {"size": 224, "crop": 0.9, **IMAGENET},
        {"size": 299, "crop": 1.0},
        {"size": 75, "crop": 0.875},
    ],
    ids=lambda options: f"{options['size']}-{options['crop']}",
)
def test_is_timms_transform_at_the_sizes_models_use(
    timm_transform: Callable[[Preprocess], Any],
    options: dict[str, Any],
    width: int,
    height: int,
    interpolation: Any,
) -> None:
    preprocess = Preprocess(interpolation=interpolation, **options)
    assert_same(timm_transform, preprocess, noise(width, height))


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 160),
    height=st.integers(1, 160),
    size=st.integers(1, 96),
    crop=CROPS,
    interpolation=st.sampled_from(INTERPOLATIONS),
    seed=st.integers(0, 2**32),
)
def test_is_timms_transform_at_any_size(
    timm_transform: Callable[[Preprocess], Any],
    width: int,
    height: int,
    size: int,
    crop: float,
    interpolation: Any,
    seed: int,
) -> None:
    preprocess = Preprocess(size=size, crop=crop, interpolation=interpolation)
    assert_same(timm_transform, preprocess, noise(width, height, seed))


@settings(max_examples=100, deadline=None)
@given(
    mean=st.tuples(*[st.floats(0.0, 1.0)] * 3),
    std=st.tuples(*[st.floats(0.01, 4.0)] * 3),
    seed=st.integers(0, 2**32),
)
def test_normalization_rounds_as_torch_does(
    timm_transform: Callable[[Preprocess], Any],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
) -> None:
    preprocess = Preprocess(size=20, crop=1.0, mean=mean, std=std)
    assert_same(timm_transform, preprocess, noise(20, 20, seed))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_is_timms_transform_for_every_mode(
    timm_transform: Callable[[Preprocess], Any], mode: str
) -> None:
    assert_same(timm_transform, Preprocess(size=32), noise(50, 40).convert(mode))


@settings(max_examples=500)
@given(
    size=st.integers(1, 4096),
    crop=st.floats(1e-3, 1.0) | st.sampled_from([1.0, math.nextafter(1.0, 0.0)]),
    short=st.integers(1, 10_000),
    more=st.integers(0, 10_000),
)
def test_the_crop_never_leaves_the_resized_image(
    size: int, crop: float, short: int, more: int
) -> None:
    """torchvision would pad there with black; the arithmetic of both sides rules it out."""
    resized_short = math.floor(size / crop)
    resized_long = int(resized_short * (short + more) / short)
    assert size <= resized_short <= resized_long
    for side in (resized_short, resized_long):
        start = round((side - size) / 2.0)
        assert start >= 0 and start + size <= side


def test_normalization_keeps_the_order_of_images_and_channels() -> None:
    crops = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
    planes = Preprocess(size=2, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0)).normalization.apply(
        crops
    )
    assert planes.shape == (2, 3, 2, 2) and planes.flags.c_contiguous
    for n, c, y, x in np.ndindex(planes.shape):
        expected = (crops[n, y, x, c] / 255 - (0.0, 0.5, 1.0)[c]) / (1.0, 0.5, 2.0)[c]
        assert planes[n, c, y, x] == pytest.approx(expected, abs=1e-6)
