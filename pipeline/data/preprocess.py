"""From an image to what a model sees, declared once and used by everything.

A preprocessing has two halves. The *geometry* (resize, centre crop) turns any picture into a
`uint8 [H, W, 3]` crop; crops are the common currency of evaluation, calibration and hand-over
files. The *normalization* turns a crop into the model's input and belongs to the artifact that
is run, because a quantized model reads the same bytes on a grid of its own.

Both follow timm's evaluation transforms (`timm/data/transforms_factory.py`,
`transforms_imagenet_eval`), which a test holds them to bit for bit.
"""

import math
from typing import TYPE_CHECKING, Annotated, Literal

import annotated_types
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Unit = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveUnit = Annotated[float, Field(gt=0.0, le=4.0)]
Triple = tuple[Unit, Unit, Unit]
PositiveTriple = Annotated[
    tuple[PositiveUnit, PositiveUnit, PositiveUnit], annotated_types.Len(3, 3)
]

METADATA_KEY = "preprocess"
"""Key of an ONNX file's metadata under which its preprocessing travels, as JSON."""


class Normalization(BaseModel):
    """`input[c] = (byte / 255 - mean[c]) / std[c]`, in timm's units (fractions of 255)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Triple
    std: PositiveTriple

    def apply(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Normalise `uint8 [N, H, W, 3]` crops into `float32 [N, 3, H, W]`, rounded as torch does."""
        import numpy as np

        planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
        planes /= np.float32(255)
        planes -= np.asarray(self.mean, np.float32).reshape(1, 3, 1, 1)
        planes /= np.asarray(self.std, np.float32).reshape(1, 3, 1, 1)
        return planes


class Preprocess(BaseModel):
    """Resize the shorter side to `floor(size / crop)`, crop the centre, then normalise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    size: Annotated[int, Field(ge=1, le=4096)]
    """Height and width of the model's input, in pixels."""
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bicubic"
    """Filter of the resize, as Pillow names and computes it (antialiased)."""
    crop: Annotated[float, Field(ge=0.05, le=1.0)] = 0.875
    """Part of the resized shorter side that the centre crop keeps."""
    mean: Triple = (0.5, 0.5, 0.5)
    """Is subtracted from each channel; fractions of 255."""
    std: PositiveTriple = (0.5, 0.5, 0.5)
    """What each channel is divided by; fractions of 255."""

    def with_normalization(self, normalization: Normalization) -> "Preprocess":
        """The same geometry for a model that reads the crop's bytes in another way."""
        return self.model_copy(update={"mean": normalization.mean, "std": normalization.std})

    @property
    def normalization(self) -> Normalization:
        return Normalization(mean=self.mean, std=self.std)

    @property
    def geometry(self) -> dict[str, object]:
        """The fields that decide the crop: what stored crops and logits depend on."""
        return {"size": self.size, "interpolation": self.interpolation, "crop": self.crop}

    def crop_image(self, image: "Image") -> "NDArray[np.uint8]":
        """The centre crop of any Pillow image as `uint8 [size, size, 3]`."""
        import numpy as np
        from PIL import Image as pillow

        filters = {
            "bilinear": pillow.Resampling.BILINEAR,
            "bicubic": pillow.Resampling.BICUBIC,
            "nearest": pillow.Resampling.NEAREST,
        }
        rgb = image.convert("RGB")
        width, height = rgb.size
        short = math.floor(self.size / self.crop)
        if (width, height) != (short, short):
            # torchvision's Resize: the other side is truncated, not rounded.
            scaled = (
                (short, int(short * height / width))
                if width <= height
                else (int(short * width / height), short)
            )
            rgb = rgb.resize(scaled, filters[self.interpolation])
        left = round((rgb.width - self.size) / 2.0)
        top = round((rgb.height - self.size) / 2.0)
        rgb = rgb.crop((left, top, left + self.size, top + self.size))
        return np.asarray(rgb, dtype=np.uint8)
