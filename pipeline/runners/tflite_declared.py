"""Which preprocessing a TFLite file asks for, as far as it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.data.preprocess import METADATA_KEY, Preprocess
from pipeline.errors import StageError, UsageError
from pipeline.runners.litert import channels_last, image_input, is_raw, make_interpreter

CONFIG = "give a recipe with data.preprocess: --config FILE"


def own_preprocess(path: Path) -> Preprocess | None:
    """The preprocessing in a file of ours; None in anyone else's."""
    from pipeline.lower.metadata_read import entries_of

    text = entries_of(path.read_bytes()).get(METADATA_KEY)
    if text is None:
        return None
    try:
        return Preprocess.model_validate_json(text)
    except ValueError as error:
        raise StageError(f"metadata {METADATA_KEY} is damaged: {error}", where=str(path)) from None


def tflite_preprocess(
    path: Path, given: Preprocess | None, say: Callable[[str], None]
) -> Preprocess:
    """What a file of ours declares, else what was given, else what can be told from the file.

    A file of others' says its input's size and, in its metadata or by the scale of 8-bit input,
    how bytes are normalized, but not how pictures are cropped: that is the default then, and said.
    Raises UsageError where it does not even say the normalization.
    """
    input = image_input(make_interpreter(path, 1), str(path))
    own = own_preprocess(path)
    if own is not None or given is not None:
        return own or given  # type: ignore[return-value]
    height, width = map(int, input["shape"][1:3] if channels_last(input) else input["shape"][2:])
    if height != width:
        raise UsageError(f"wants pictures of {height}x{width}", where=str(path), hint=CONFIG)
    mean, std = _normalization(path, input)
    try:
        found = Preprocess(size=height, interpolation="bilinear", mean=mean, std=std)
    except ValidationError:
        raise UsageError(
            f"its mean {mean} and deviation {std} are not those of pictures",
            where=str(path),
            hint=CONFIG,
        ) from None
    say(
        f"{path.name} does not say how pictures are cropped to {height}x{width}: taken as "
        f"{found.interpolation}, crop {found.crop:g}. To change it, {CONFIG}"
    )
    return found


def _normalization(path: Path, input: Any) -> Any:
    """Mean and deviation in fractions of 255, by channel.

    Where the integers are the picture's bytes to within one, they are taken as its bytes, whatever
    half step the metadata speak of: that is how phones and boards feed such models.
    """
    from pipeline.lower.metadata import ENTRY
    from pipeline.lower.metadata_read import entries_of, normalization_in

    metadata = entries_of(path.read_bytes()).get(ENTRY)
    declared = None if metadata is None else normalization_in(metadata, str(path))
    if declared is not None and not all(len(numbers) in (1, 3) for numbers in declared):
        declared = None
    scale, zero_point = input["quantization"]
    if input["dtype"].__name__ == "int8":
        zero_point += 128  # int8 integers are bytes less 128
    if is_raw(input):
        mean, std = [0.0], [1.0]
    elif scale and (declared is None or _copies_bytes(declared, scale, zero_point)):
        mean, std = [float(zero_point)], [1 / scale]
    elif declared is not None:
        mean, std = declared
    else:
        raise UsageError("declares no preprocessing", where=str(path), hint=CONFIG)
    return tuple(tuple(n / 255 for n in (numbers * 3)[:3]) for numbers in (mean, std))


def _copies_bytes(declared: tuple[list[float], list[float]], scale: float, zero_point: int) -> bool:
    means, deviations = (numbers * (3 // len(numbers)) for numbers in declared)
    return all(
        abs((byte - mean) / (deviation * scale) + zero_point - byte) <= 1.01
        for mean, deviation in zip(means, deviations, strict=True)
        for byte in (0, 255)
    )
