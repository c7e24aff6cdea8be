"""What a model sees of a picture on the board: `synap_cli_ic`'s own way from a file to its input.

The whole picture, resized as stb does it (`stb_resize.py`) into the input and centred on gray
bands, without the crop that the model was trained and measured with. Read in the sources of
SyNAP's runtime (`Preprocessor::assign`), whose output on aarch64 this equals bit for bit, given
the same decoded pixels. A PNG decodes to the same pixels. A JPEG does not quite: the runtime reads
it with stb_image, which rounds otherwise than Pillow's libjpeg-turbo, and that is not reproduced
here. On photographs seen at 224 and 299 pixels, 1 to 5 of a hundred values then differ, by one or
two levels. PNG files on the board rule that out.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.data.dataset import BrokenImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

FILL = 128
"""Level of the bands, in all channels."""
_THREE_CHANNELS = ("RGB", "P", "CMYK")
"""Pillow's modes of files that stb decodes to red, green and blue."""


class DeviceView(BaseModel):
    """The board's geometry, in the place of a `Preprocess`.

    `keep_proportions` is SyNAP's word in an input's `format`: without it the picture is stretched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1, le=4096)]
    """Height and width of the model's input, in pixels."""
    keep_proportions: bool = True
    convert: bool = False
    """Turn gray and transparent pictures into RGB first, as one has to before copying them to the
    board, instead of refusing them as its program does."""

    @property
    def geometry(self) -> dict[str, object]:
        """The fields that decide the crop: what stored crops and logits depend on."""
        return {"view": "device", **self.model_dump()}

    def crop_image(self, image: "Image") -> "NDArray[np.uint8]":
        """The picture as `uint8 [size, size, 3]`.

        Raises BrokenImage, without the file's name, for what `synap_cli_ic` gives up at: a picture
        that has not three channels, or is so long that nothing of its shorter side would be left.
        """
        import numpy as np

        from pipeline.data.stb_resize import resize

        if self.convert:
            image = image.convert("RGB")
            image.info.pop("transparency", None)
        if image.mode not in _THREE_CHANNELS:
            raise BrokenImage(
                "",
                f"has not the three channels that `synap_cli_ic` needs (mode {image.mode}), so it "
                "would stop there",
            )
        if "transparency" in image.info:
            raise BrokenImage("", "has a transparent colour: `synap_cli_ic` refuses or misreads it")
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        if image.size == (self.size, self.size):
            return pixels
        width, height = self._scaled(*image.size)
        if not width or not height:
            raise BrokenImage(
                "",
                f"is {image.width} x {image.height} pixels, of which the board would leave "
                f"{width} x {height}",
            )
        return self._on_bands(resize(pixels, width, height))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that the picture gets, rounded as the runtime's float32 rounds."""
        import numpy as np

        if not self.keep_proportions:
            return self.size, self.size
        size, ratio = np.float32(self.size), np.float32(width) / np.float32(height)
        scaled = int(float(size / ratio) + 0.5)
        if scaled <= self.size:
            return self.size, scaled
        return int(float(size * ratio) + 0.5), self.size

    def _on_bands(self, picture: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        """The picture in the middle; an odd rest makes the right or the lower band the wider."""
        import numpy as np

        height, width, _ = picture.shape
        top, left = (self.size - height) // 2, (self.size - width) // 2
        rest = self.size - width
        if rest:
            # The runtime makes room for the bands in place, row after row from the last one on. In
            # the first rows it fills the left band before it has moved what lies there.
            picture = picture.copy()
            for row in range(-(-width // rest)):
                picture[row, row * rest : row * rest + left] = FILL
        view = np.full((self.size, self.size, 3), FILL, np.uint8)
        view[top : top + height, left : left + width] = picture
        return view
