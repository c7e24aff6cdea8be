"""Hold a metafile of the user's own against the picture that the model was measured on.

What is compiled, and what a board does to a picture, follow the metafile; with other means, another
scale or other channels than were measured, the chip sees a picture that no check has seen. What the
metafile leaves out comes from elsewhere:

 1. A float ONNX is calibrated without what is left out, so both means and scale have to be there
    (the toolkit's `acuity_converter.py`).
 2. With `preprocess`, too, the NPU's conversion takes them from the metafile (ibid.).
 3. Else the runtime takes the input's own zero point for each mean, and 1/scale of the input for
    the scale (`metadata.cpp`) [not run]. That copies a picture's bytes into a uint8 input, which
    is the same picture where what was measured copies them as well; an int8 input it cuts off.
 4. An input's `format` counts before the metafile's `input_format`; its first word `bgr` turns the
    channels round, and without a word they stay as they were decoded, in rgb.
"""

from collections.abc import Iterator
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.synap.metafile import Input, Metafile

if TYPE_CHECKING:
    from pipeline.inspect.schemes import Grid

MEAN_TOLERANCE = 0.01
"""Grey levels. People write 123.68 for 123.675."""
SCALE_TOLERANCE = 1e-3
"""As a fraction; over the whole range it is a quarter of a grey level."""
COPIED = 1 / 256
"""How far from 1 a combined scale may be for the runtime to copy bytes (`quantization.cpp`)."""


def require_same_picture(
    own: Path, metafile: Metafile, measured: Input, grid: "Grid | None"
) -> None:
    """Raise UsageError with all that differs between the metafile `own` and `measured`, the input
    as it would have been generated.

    `grid` are the integers of the input, None for a float model.
    """
    given = metafile.inputs[0] if metafile.inputs else Input()
    differences = [
        *_means(given, measured, grid),
        *_scale(given, measured, grid),
        *_format(given, metafile.input_format, measured),
    ]
    if differences:
        shown = f"means: {_shown(measured.means)}, scale: {_shown(measured.scale)}, format: rgb"
        raise UsageError(
            "\n  ".join(["is about another picture than was measured:", *differences]),
            where=str(own),
            hint=f"its input needs {shown}; if the metafile is right, data.preprocess is not",
        )


def _means(given: Input, measured: Input, grid: "Grid | None") -> Iterator[str]:
    assert measured.means is not None
    if given.means is not None:
        pairs = zip(given.means, measured.means, strict=False)
        if len(given.means) != len(measured.means) or not all(
            isclose(ours, theirs, rel_tol=0, abs_tol=MEAN_TOLERANCE) for ours, theirs in pairs
        ):
            yield _differs("means", _shown(given.means), _shown(measured.means))
        return
    other = _nothing_taken(given, grid)
    if other is None and grid is not None:
        zero = grid.zero_point[0]
        # The runtime cuts the difference to a whole number, so a half is none.
        copied = _is_copied(measured, grid) and all(abs(zero - m) < 1 for m in measured.means)
        if grid.dtype != "uint8" or not copied:
            other = f"a board then takes the zero point {zero} of {grid.dtype}"
    if other is not None:
        yield _differs("means", f"left out, and {other}", _shown(measured.means))


def _scale(given: Input, measured: Input, grid: "Grid | None") -> Iterator[str]:
    assert measured.scale is not None
    if given.scale is not None:
        if not isclose(given.scale, measured.scale, rel_tol=SCALE_TOLERANCE):
            yield _differs("scale", _shown(given.scale), _shown(measured.scale))
        return
    other = _nothing_taken(given, grid)
    if other is None and grid is not None and not _is_copied(measured, grid):
        other = f"a board then takes 1/scale of the input, {1 / grid.scale[0]:g}"
    if other is not None:
        yield _differs("scale", f"left out, and {other}", _shown(measured.scale))


def _format(given: Input, of_all: str | None, measured: Input) -> Iterator[str]:
    field, text = ("format", given.format) if given.format else ("input_format", of_all or "")
    words = text.split()
    word = words[0] if words and "=" not in words[0] else "rgb"
    if word.lower() != measured.format:
        yield _differs(field, word, str(measured.format))


def _nothing_taken(given: Input, grid: "Grid | None") -> str | None:
    """Why the input's own integers do not stand in for what is left out; None where they do."""
    if grid is None:
        return "the toolkit would calibrate without"
    if given.preprocess is not None and given.preprocess.type not in ("", "none"):
        return "its preprocess needs it"
    return None


def _is_copied(measured: Input, grid: "Grid") -> bool:
    """Whether a step of the input is a grey level, as measured."""
    assert measured.scale is not None
    return abs(measured.scale * grid.scale[0] - 1) < COPIED


def _differs(field: str, found: str, measured: str) -> str:
    return f"{field}: {found}, but it was measured with {measured}"


def _shown(given: float | tuple[float, ...] | None) -> str:
    if isinstance(given, tuple):
        return f"[{', '.join(map(_shown, given))}]"
    return f"{given:.10g}" if given is not None else "nothing"
