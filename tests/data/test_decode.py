import io
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.dataset import BrokenImage
from pipeline.data.decode import LONGEST_SHAPE, decode_image

Make = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_modes(make_picture: Make, encode: Encode, mode: str) -> None:
    content = encode(make_picture(1, (20, 30), mode), "JPEG")
    image = decode_image(content, "x")
    assert image.size == (20, 30)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_modes(make_picture: Make, encode: Encode, mode: str) -> None:
    image = make_picture(1, (20, 30), mode)
    np.testing.assert_array_equal(
        np.asarray(decode_image(encode(image), "x").convert("RGB")),
        np.asarray(image.convert("RGB")),
    )


def test_16_bit_grayscale_keeps_its_tones(encode: Encode) -> None:
    """Pillow's own conversion clips all from 256 of 65535 to white."""
    tones = np.array([[0, 255, 256, 0x1234], [0x8000, 0xC0FF, 0xFF00, 0xFFFF]], np.uint16)
    rgb = decode_image(encode(Image.fromarray(tones)), "x").convert("RGB")
    np.testing.assert_array_equal(np.asarray(rgb)[..., 0], tones >> 8)
    np.testing.assert_array_equal(np.asarray(rgb)[..., 2], tones >> 8)


def test_16_bit_colour_takes_the_high_byte() -> None:
    samples = np.array([[[0x1234, 0x8000, 0xFFFF], [0, 0x0100, 0x00FF]]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    content = png(2, 1, 16, 2, zlib.compress(rows))
    np.testing.assert_array_equal(
        np.asarray(decode_image(content, "x").convert("RGB")), samples >> 8
    )


def test_palette_with_transparency_does_not_warn(make_picture: Make, encode: Encode) -> None:
    image = make_picture(1, (20, 30), "P")
    content = encode(image, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb = decode_image(content, "x").convert("RGB")
    np.testing.assert_array_equal(np.asarray(rgb), np.asarray(image.convert("RGB")))


def test_orientation_is_not_applied_as_in_timm(make_picture: Make, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encode(make_picture(1, (20, 30)), "JPEG", exif=exif), "x")
    assert image.size == (20, 30)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is an empty file"),
        (b"not an image\n", "neither JPEG nor PNG"),
        (b"<html>404 Not Found</html>" * 50, "neither JPEG nor PNG"),
        (b"\xff\xd8\xff\xe0", "neither JPEG nor PNG"),
        (b"\x89PNG\r\n\x1a\n", "neither JPEG nor PNG"),
    ],
)
def test_what_is_no_image(content: bytes, reason: str) -> None:
    with pytest.raises(BrokenImage) as caught:
        decode_image(content, "some/file.JPEG")
    assert reason in caught.value.reason
    assert str(caught.value).startswith("some/file.JPEG: this image ")
    assert "broken_images: skip" in caught.value.hint


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated(make_picture: Make, encode: Encode, format: str, part: float) -> None:
    content = encode(make_picture(1, (200, 200)), format)
    with pytest.raises(BrokenImage, match="cannot be decoded"):
        decode_image(content[: int(len(content) * part)], "x")


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "EPS"])
def test_other_formats_are_not_opened(make_picture: Make, encode: Encode, format: str) -> None:
    with pytest.raises(BrokenImage, match="neither JPEG nor PNG"):
        decode_image(encode(make_picture(1), format), "x")


def test_a_picture_of_no_shape(encode: Encode) -> None:
    decode_image(encode(Image.new("L", (LONGEST_SHAPE, 1))), "x")
    with pytest.raises(BrokenImage, match=f"is 1 x {LONGEST_SHAPE + 1} pixels"):
        decode_image(encode(Image.new("L", (1, LONGEST_SHAPE + 1))), "x")


def test_a_small_file_that_claims_to_be_huge() -> None:
    with pytest.raises(BrokenImage, match="exceeds limit"):
        decode_image(png(60_000, 60_000, 8, 2, zlib.compress(bytes(1000))), "x")


@settings(max_examples=400, deadline=None)
@given(data=st.data(), format=st.sampled_from(["JPEG", "PNG", "palette", "interlaced"]))
@pytest.mark.filterwarnings("ignore")
def test_damage_is_decoded_or_broken_and_nothing_else(
    make_picture: Make, encode: Encode, data: st.DataObject, format: str
) -> None:
    image = make_picture(3, (24, 17), "P" if format == "palette" else "RGB")
    exif = Image.Exif()
    exif[0x010E] = "described"
    content = bytearray(encode(image, "JPEG" if format == "JPEG" else "PNG", exif=exif))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=12)):
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.none())
    with suppress(BrokenImage):
        assert decode_image(bytes(content[:cut]), "x").convert("RGB").mode == "RGB"


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
