"""Read what `synap_cli_ic --top 0` prints when its output is not a terminal.

Per image, as documented for SyNAP 3.2.0:

    Input image: PATH
    Classification time: 12.3 ms (pre:…, inf:…, post:…)
    {"items": [{"class_index": 0, "confidence": 1.5}, …], "success": true}

The confidence is the dequantized output as it is: the logit, when the graph has no softmax. Lines
beside these (a banner, a warning) are let pass; everything else has to be as documented, because
a number that was read wrongly would look like one that was measured.
"""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.board.board_error import OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_IMAGE = re.compile(r"^Input image: (.*?)[ \t\r]*$", re.MULTILINE)
_NUMBER = r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?) *(ns|us|µs|ms|s)?"
_TIME = re.compile(
    rf"^Classification time: *{_NUMBER} *"
    rf"\( *pre *: *{_NUMBER} *, *inf *: *{_NUMBER} *, *post *: *{_NUMBER} *\)[ \t\r]*$",
    re.MULTILINE,
)
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_ROUNDING = 1.1
"""How much more than the whole its parts may be by rounding; further, see `_ROUNDING_MS`."""
_ROUNDING_MS = 0.1


class Result(NamedTuple):
    """What was printed for one image: class index -> confidence, and the inference in ms."""

    confidences: dict[int, float]
    inference_ms: float


def read_output(
    text: str, images: Sequence[str], classes: int
) -> "tuple[NDArray[np.float32], NDArray[np.float64]]":
    """Logits `float32 [N, classes]` and inference times `float64 [N]` in ms, in the order of
    `images`, the paths that were given. Raises OutputError, which names the image."""
    import numpy as np

    starts = list(_IMAGE.finditer(text))
    printed = [start[1] for start in starts]
    _require_images(printed, images)
    logits = np.empty((len(images), classes), np.float32)
    milliseconds = np.empty(len(images), np.float64)
    ends = [start.start() for start in starts[1:]] + [len(text)]
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        result = _read_image(text[start.end() : end], images[row])
        count = len(result.confidences)
        if count != classes:
            before = f"{classes} were expected" if row == 0 else f"{images[row - 1]} has {classes}"
            raise _unlike(images[row], f"{count} classes, where {before}")
        # A key that is not below the number of classes means that another one is missing.
        if max(result.confidences) != classes - 1 or min(result.confidences) != 0:
            raise _unlike(images[row], f"the classes are not 0 to {classes - 1}")
        logits[row, list(result.confidences)] = list(result.confidences.values())
        milliseconds[row] = result.inference_ms
    return logits, milliseconds


def _require_images(printed: Sequence[str], images: Sequence[str]) -> None:
    if list(printed) == list(images):
        return
    missing = [image for image in images if image not in set(printed)]
    if missing:
        raise OutputError(
            f"{len(missing)} of {len(images)} images are not in the output, the first is "
            f"{missing[0]}",
        )
    raise OutputError("the images in the output are not the given ones, each once and in order")


def _read_image(text: str, image: str) -> Result:
    times = list(_TIME.finditer(text))
    if len(times) != 1:
        how = "no line with its classification time" if not times else "several times"
        raise _unlike(image, how)
    return Result(_confidences(text[times[0].end() :], image), _inference_ms(times[0], image))


def _inference_ms(match: re.Match[str], image: str) -> float:
    """The `inf:` part. Without a unit of its own it is in ms or us, whichever adds up to the
    whole together with the other parts."""
    total = float(match[1]) * _MILLISECONDS[match[2] or "ms"]
    values = [float(match[group]) for group in (3, 5, 7)]
    units = [match[group] for group in (4, 6, 8)]
    limit = total * _ROUNDING + _ROUNDING_MS
    if limit == float("inf"):
        raise _unlike(image, "a time without end")
    if all(units):
        parts = [value * _MILLISECONDS[unit] for value, unit in zip(values, units, strict=True)]
        if sum(parts) <= limit:
            return parts[1]
    elif not any(units):
        for scale in (_MILLISECONDS["ms"], _MILLISECONDS["us"]):
            if total / 2 <= sum(values) * scale + _ROUNDING_MS and sum(values) * scale <= limit:
                return values[1] * scale
    raise _unlike(image, f"times that do not add up: {match[0].strip()[:120]}")


def _confidences(text: str, image: str) -> dict[int, float]:
    start = text.find("{")
    if start < 0:
        raise _unlike(image, "no JSON behind its classification time")
    try:
        data, end = json.JSONDecoder(parse_constant=_no_number).raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise _unlike(image, f"JSON that ends or breaks: {str(error)[:120]}") from None
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        raise _unlike(image, "JSON without a list of items")
    if '"items"' in text[end:]:
        raise _unlike(image, "several results")
    if data.get("success") is not True:
        raise _unlike(image, f"success: {str(data.get('success'))[:40]}")
    found: dict[int, float] = {}
    for item in data["items"]:
        index, confidence = _item(item, image)
        if index in found:
            raise _unlike(image, f"class {index} twice")
        found[index] = confidence
    if not found:
        raise _unlike(image, "no class")
    return found


def _item(item: Any, image: str) -> tuple[int, float]:
    match item:
        # A bool is an int to Python and none to anybody else; beyond float32 the logit would be
        # infinite.
        case {"class_index": int(index), "confidence": int() | float() as confidence} if (
            type(index) is int and type(confidence) is not bool and abs(confidence) < 3.4e38
        ):
            return index, float(confidence)
    raise _unlike(image, f"an item that is no class with its confidence: {str(item)[:120]}")


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _unlike(image: str, what: str) -> OutputError:
    return OutputError(f"the output for {image} is not the documented one: {what}")
