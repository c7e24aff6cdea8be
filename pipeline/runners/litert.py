"""LiteRT's interpreter on a file, and what it says of the file's input."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

TYPES = ("float32", "uint8", "int8")
"""What images and scores may be."""


def make_interpreter(path: Path, threads: int) -> "Interpreter":
    """LiteRT with its default kernels on a file, ready to run. Raises StageError where it refuses."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _quiet():
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise StageError(
            f"LiteRT refuses the model: {str(error).splitlines()[0]}", where=str(path)
        ) from error
    return interpreter


@contextmanager
def _quiet() -> Iterator[None]:
    """LiteRT tells stderr about every delegate it makes, and has no switch for that. What goes
    wrong comes as exceptions."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def image_input(interpreter: "Interpreter", where: str) -> Any:
    """LiteRT's details of the only input. Raises StageError where it is no image of three channels
    in a type that is known."""
    inputs = interpreter.get_input_details()
    if len(inputs) != 1:
        raise StageError(f"has {len(inputs)} inputs; an image alone is needed", where=where)
    shape, dtype = list(map(int, inputs[0]["shape"])), inputs[0]["dtype"].__name__
    if dtype not in TYPES or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise StageError(
            f"its input is {dtype} of shape {shape}; an image of three channels in "
            f"{', '.join(TYPES)} is needed",
            where=where,
        )
    if dtype == "int8" and not inputs[0]["quantization"][0]:
        raise StageError("its int8 input has no scale", where=where)
    return inputs[0]


def channels_last(input: Any) -> bool:
    """Whether the input is NHWC, as TFLite's own models are; converted ones may be NCHW."""
    return int(input["shape"][3]) == 3


def is_raw(input: Any) -> bool:
    """Whether the input takes bytes and has no scale: the model normalizes them itself."""
    return input["dtype"].__name__ == "uint8" and not input["quantization"][0]
