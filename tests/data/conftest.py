import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[..., Path]


def picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


@pytest.fixture
def write(folder: Path) -> Writer:
    """Writes a picture (by its seed) or given bytes as an image file below `folder`."""

    def write_file(id: str, content: bytes | int) -> Path:
        path = folder / id
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            ending = "JPEG" if path.suffix.lower() in (".jpeg", ".jpg") else "PNG"
            content = encoded(picture(content), ending)
        path.write_bytes(content)
        return path

    return write_file


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return encoded
