"""The calibration files that a metafile's datasets name, looked at before the toolkit is called.

18. A dataset finds at least one file, every dataset the same number, and no name has a space.
19. The files of a dataset are all images or all `.npy`, as the toolkit tells them apart by the
    pattern's ending.
20. An image has the size of the input, because the toolkit fits any other with gray bands and a
    filter nobody knows (unless the input's format says `keep_proportions=0`).
21. An `.npy` has the input's full shape, batch included; the toolkit applies neither means nor
    scale to it.

The numbers continue those of `metafile_rules.py`.
"""

import glob
from pathlib import Path

from pipeline.errors import StageError
from pipeline.synap.metafile import Input, Metafile, ModelFormat

_SHOWN = 3


def check_dataset(metafile: Metafile, folder: Path, model_format: ModelFormat) -> int:
    """Check the datasets of a metafile that lies in `folder`; the number of samples.

    Raises `StageError` naming the first files that break a rule. 0 where nothing is quantized.
    """
    quantization = metafile.quantization
    if quantization is None or not quantization.dataset:
        return 0
    inputs = metafile.inputs or ()
    if len(inputs) != len(quantization.dataset):
        raise StageError(f"{len(quantization.dataset)} datasets for {len(inputs)} inputs")
    counts: dict[str, int] = {}
    for pattern, tensor in zip(quantization.dataset, inputs, strict=True):
        # The toolkit's own function: unlike pathlib's, it leaves out names that start with a dot.
        files = sorted(folder / name for name in glob.glob(pattern, root_dir=folder))
        where = f"dataset {pattern}"
        if not files:  # rule 18
            raise StageError("finds no file", where=where, hint=f"looked in {folder}")
        _refuse([path for path in files if not path.is_file()], "not a file", where)
        spaced = [path for path in files if " " in path.relative_to(folder).as_posix()]
        _refuse(spaced, "a space in the name", where)
        arrays = pattern.lower().endswith(".npy")
        mixed = [path for path in files if (path.suffix.lower() == ".npy") != arrays]
        # Rule 19.
        _refuse(mixed, "arrays and images mixed, or not told apart by the pattern", where)
        if tensor.shape is not None:
            _check_sizes(files, arrays, tensor, model_format, where)
        counts[pattern] = len(files)
    if len(set(counts.values())) > 1:  # rule 18
        raise StageError(f"the datasets have different numbers of files: {counts}")
    return next(iter(counts.values()))


def _check_sizes(
    files: list[Path], arrays: bool, tensor: Input, model_format: ModelFormat, where: str
) -> None:
    shape = tensor.shape or ()
    if arrays:  # rule 21
        wrong = [path for path in files if _array_shape(path, where) != shape]
        _refuse(wrong, f"not of the input's shape {list(shape)}", where)
    elif len(shape) != 4:
        raise StageError(f"images cannot fill an input of shape {list(shape)}", where=where)
    elif "keep_proportions=0" not in (tensor.format or ""):  # rule 20
        height, width = shape[2:] if model_format == "onnx" else shape[1:3]
        wrong = [path for path in files if _image_size(path, where) != (width, height)]
        _refuse(wrong, f"not {width}x{height} as the input, so gray bands would be added", where)


def _refuse(files: list[Path], reason: str, where: str) -> None:
    if files:
        names = ", ".join(path.name for path in files[:_SHOWN])
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        raise StageError(f"{reason}: {names}{more}", where=where)


def _array_shape(path: Path, where: str) -> tuple[int, ...]:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StageError(f"{path.name} is not a plain array: {error}", where=where) from None
    if not isinstance(array, np.ndarray):
        raise StageError(f"{path.name} holds several arrays, not one", where=where)
    return tuple(array.shape)


def _image_size(path: Path, where: str) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StageError(f"{path.name} is not an image: {error}", where=where) from None
