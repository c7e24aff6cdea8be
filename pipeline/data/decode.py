"""From the bytes of a JPEG or PNG file to a picture, or to a reason why not."""

import struct
import zlib
from typing import TYPE_CHECKING

from pipeline.data.dataset import BrokenImage

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG")
"""Pillow chooses by content, not by name, and some of its other readers start programs."""
LONGEST_SHAPE = 1000
"""Sides of more than 1000 to 1: the resize of the shorter side would need gigabytes."""


def decode_image(content: bytes, where: str) -> "Image":
    """The fully decoded picture, in a mode that Pillow converts to RGB without loss of meaning.

    Follows timm's reader (`Image.open(…).convert("RGB")`, so the EXIF orientation is not applied)
    except for 16-bit grayscale, which Pillow would clip to white: its high byte is taken, as
    Pillow itself does for 16-bit colour. Raises BrokenImage naming `where`.
    """
    import io

    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    if not content:
        raise BrokenImage(where, "is an empty file")
    try:
        image: Image = pillow.open(io.BytesIO(content), formats=FORMATS)
        image.load()
    except UnidentifiedImageError as error:
        raise BrokenImage(where, "is neither JPEG nor PNG") from error
    except (
        # What Pillow's readers raise on damaged files, as a fuzzing test found and its sources say.
        *(OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError),
        *(OverflowError, struct.error, zlib.error, pillow.DecompressionBombError),
    ) as error:
        raise BrokenImage(where, f"cannot be decoded ({error or type(error).__name__})") from error
    if max(image.size) > LONGEST_SHAPE * min(image.size):
        raise BrokenImage(where, f"is {image.width} x {image.height} pixels, no shape of a picture")
    # Dropping transparency is what convert("RGB") does too, but it warns on stderr about palettes.
    image.info.pop("transparency", None)
    return _high_byte(image) if image.mode.startswith("I") else image


def _high_byte(image: "Image") -> "Image":
    import numpy as np
    from PIL import Image as pillow

    return pillow.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
