"""Digests and numbers marked GOLDEN are what SyNAP's runtime (github.com/synaptics-synap/runtime,
5f7961c) wrote into a uint8 `nhwc` `rgb` tensor of `[1, size, size, 3]` without normalization, when
its `InputData` and `Preprocessor::assign` were given a PNG of `picture(w, h)`, compiled by GCC 12.2
for aarch64 with -O2 and run under QEMU 7.2. A digest is the first half of the tensor's sha256."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from pipeline.data.dataset import BrokenImage
from pipeline.data.decode import decode_image
from pipeline.data.device_view import FILL, DeviceView
from pipeline.data.preprocess import Preprocess

GOLDEN = {
    (500, 375, 224, True): "b71e430a73378b38",
    (375, 500, 224, True): "e4a9240689b86a71",
    (375, 500, 299, True): "8e710864f2efb1f9",
    (500, 333, 299, True): "4ee8279f2fc16fe4",
    (500, 400, 224, False): "b816918721ce0617",
    (224, 300, 224, True): "0927680188d4a03e",
    (300, 301, 224, True): "81b987aefa528403",
    (223, 224, 224, True): "ef8826c77037339d",
    (20, 30, 32, True): "2d2cff52013f1968",
    (30, 100, 32, True): "60a3127193f8728a",
    (60, 50, 96, False): "e09c45f558ebd227",
    (224, 224, 224, True): "828d77230b3e5596",
}
"""By width, height, size and keep_proportions."""


def picture(width: int, height: int) -> NDArray[np.uint8]:
    y, x, c = np.ogrid[:height, :width, :3]
    pattern: NDArray[np.uint8] = ((37 * x * x + 101 * y + 7 * x * y + 53 * c) % 256).astype("u1")
    return pattern


def view(width: int, height: int, size: int, keep_proportions: bool = True) -> NDArray[np.uint8]:
    device = DeviceView(size=size, keep_proportions=keep_proportions)
    return device.crop_image(Image.fromarray(picture(width, height)))


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_is_the_runtimes_tensor_to_the_bit(
    case: tuple[int, int, int, bool], tmp_path: Path
) -> None:
    width, height, size, keep_proportions = case
    file = tmp_path / "picture.png"
    Image.fromarray(picture(width, height)).save(file)
    device = DeviceView(size=size, keep_proportions=keep_proportions)
    tensor = device.crop_image(decode_image(file.read_bytes(), str(file)))
    assert tensor.shape == (size, size, 3) and tensor.dtype == np.uint8
    assert hashlib.sha256(tensor.tobytes()).hexdigest()[:16] == GOLDEN[case]


def test_gray_streaks_where_the_runtime_makes_room_in_place() -> None:
    """GOLDEN: green of the first columns of the first rows of a picture 21 wide, bands 5 and 6."""
    green = view(20, 30, 32)[:3, :, 1].tolist()
    assert green[0][:12] == [FILL] * 10 + [203, 137]
    assert green[1][3:23] == [
        *[128, 128, 144, 199, 66, 240, 47, 57, 208, 248],
        *[84, 86, 123, 128, 128, 128, 128, 128, 118, 22],
    ]
    assert FILL not in green[2][5:26]


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    size=st.integers(1, 60),
    level=st.integers(0, 255),
)
def test_the_whole_picture_lies_between_equal_bands(
    width: int, height: int, size: int, level: int
) -> None:
    longer, shorter = max(width, height), min(width, height)
    image = Image.new("RGB", (width, height), (level, level, level))
    if shorter / longer * size < 0.49:
        with pytest.raises(BrokenImage, match="the board would leave"):
            DeviceView(size=size).crop_image(image)
        return
    if shorter / longer * size < 0.51:
        return  # float32 decides
    crop = DeviceView(size=size).crop_image(image)
    assert set(np.unique(crop)) <= {level, FILL}
    if level == FILL:
        return
    # The streaks of the first rows never reach the last one.
    line = crop[-1] if height > width else crop[:, 0]
    filled = np.nonzero((line == level).all(1))[0]
    before, after = filled[0], size - 1 - filled[-1]
    assert after - before in (0, 1)
    assert len(filled) == size - before - after
    assert abs(len(filled) - size * shorter / longer) <= 0.5 + 1e-3
    if height <= width:
        assert (crop == line[:, None]).all()


def test_a_picture_of_the_inputs_size_is_not_touched() -> None:
    assert np.array_equal(view(48, 48, 48), picture(48, 48))


def test_stretched_there_are_no_bands() -> None:
    crop = DeviceView(size=32, keep_proportions=False).crop_image(Image.new("RGB", (90, 10), "red"))
    assert (crop == np.array([255, 0, 0])).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA"])
@pytest.mark.parametrize("side", [16, 20])
def test_what_the_tool_stops_at_is_refused(mode: str, side: int, tmp_path: Path) -> None:
    """Also where nothing is to be resized."""
    file = tmp_path / "picture.png"
    Image.fromarray(picture(side, side)).convert(mode).save(file)
    image = decode_image(file.read_bytes(), str(file))
    with pytest.raises(BrokenImage, match="three channels that `synap_cli_ic` needs") as raised:
        DeviceView(size=16).crop_image(image)
    assert raised.value.reason.startswith("has not") and raised.value.where == ""


def test_sixteen_bit_gray_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.fromarray(picture(16, 16)[:, :, 0].astype(np.uint16) * 257).save(file)
    with pytest.raises(BrokenImage, match="three channels"):
        DeviceView(size=16).crop_image(decode_image(file.read_bytes(), str(file)))


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_transparent_colour_is_refused_where_it_is_known(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    transparency = 3 if mode == "P" else (1, 2, 3)
    Image.fromarray(picture(16, 16)).convert(mode).save(file, transparency=transparency)
    with Image.open(file) as image, pytest.raises(BrokenImage, match="transparent colour"):
        DeviceView(size=16).crop_image(image)


def test_palettes_and_cmyk_have_three_channels(tmp_path: Path) -> None:
    """As in stb, which the runtime decodes with."""
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    flat.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    flat.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    for name, tolerance in (("palette.png", 0), ("cmyk.jpg", 2)):
        file = tmp_path / name
        crop = DeviceView(size=16).crop_image(decode_image(file.read_bytes(), name))
        assert np.abs(crop.astype(int) - (200, 40, 90)).max() <= tolerance


@pytest.mark.parametrize(("width", "height"), [(300, 1), (1, 300)])
def test_a_line_that_would_vanish_is_refused(width: int, height: int) -> None:
    with pytest.raises(BrokenImage, match=f"{width} x {height} pixels, of which the board would"):
        view(width, height, 64)


def test_its_geometry_is_never_a_preprocess_geometry() -> None:
    views = [DeviceView(size=64), DeviceView(size=32), DeviceView(size=64, keep_proportions=False)]
    geometries = [view.geometry for view in views] + [Preprocess(size=64).geometry]
    assert all(a != b for i, a in enumerate(geometries) for b in geometries[:i])
    assert views[0].geometry == {
        "view": "device",
        "size": 64,
        "keep_proportions": True,
        "convert": False,
    }


@pytest.mark.parametrize("fields", [{}, {"size": 0}, {"size": 8, "crop": 1.0}])
def test_wrong_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DeviceView.model_validate(fields)


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        DeviceView(size=8).size = 9
