"""Run TFLite classifiers of any origin with LiteRT: float, uint8 or int8 in and out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from numpy.typing import NDArray

INPUTS = ("float32", "uint8", "int8")


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


class TfliteRunner:
    """A classifier of one image input and one output of scores, as many images at a time as the
    file says (mostly one), so that memory does not grow."""

    def __init__(
        self, interpreter: "Interpreter", normalization: Normalization, where: str
    ) -> None:
        self._interpreter, self._where = interpreter, where
        self._normalization = normalization
        self._input = image_input(interpreter, where)
        outputs = interpreter.get_output_details()
        if len(outputs) != 1:
            raise StageError(f"has {len(outputs)} outputs; scores alone are needed", where=where)
        self._output = outputs[0]
        if self._output["dtype"].__name__ not in INPUTS or (
            self._output["dtype"].__name__ != "float32" and not self._output["quantization"][0]
        ):
            raise StageError("its scores are neither float nor quantized to 8 bits", where=where)

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np

        images = self._prepared(crops)
        wanted = tuple(map(int, self._input["shape"]))
        if images.shape[1:] != wanted[1:]:
            raise StageError(
                f"wants images of shape {list(wanted[1:])}, but they are prepared as "
                f"{list(images.shape[1:])}",
                where=self._where,
                hint="give the preprocessing that it was made for",
            )
        size = wanted[0]
        rows = [self._run(images[i : i + size], size) for i in range(0, len(images), size)]
        return np.concatenate(rows)

    def _prepared(self, crops: "NDArray[np.uint8]") -> "NDArray[Any]":
        """Crops as the integers or real numbers of the input, in its layout."""
        import numpy as np

        dtype, (scale, zero_point) = self._input["dtype"], self._input["quantization"]
        if is_raw(self._input):
            images: NDArray[Any] = crops.transpose(0, 3, 1, 2)
        else:
            images = self._normalization.apply(crops)
            if scale:
                ends = np.iinfo(dtype)
                images = np.clip(np.rint(images / scale) + zero_point, ends.min, ends.max)
        if channels_last(self._input):
            images = images.transpose(0, 2, 3, 1)
        return images.astype(dtype)

    def _run(self, images: "NDArray[Any]", size: int) -> "NDArray[np.float32]":
        """Scores of at most `size` images; a model of a fixed batch size gets the last repeated."""
        import numpy as np

        count = len(images)
        if count < size:
            images = np.concatenate([images, np.repeat(images[-1:], size - count, axis=0)])
        try:
            self._interpreter.set_tensor(self._input["index"], images)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise StageError(
                f"LiteRT cannot run the model: {str(error).splitlines()[0]}", where=self._where
            ) from error
        scores = self._interpreter.get_tensor(self._output["index"]).reshape(size, -1)[:count]
        scale, zero_point = self._output["quantization"]
        real: NDArray[np.float32] = scores.astype(np.float32)
        return real if not scale else (real - np.float32(zero_point)) * np.float32(scale)


def image_input(interpreter: "Interpreter", where: str) -> Any:
    """LiteRT's details of the only input. Raises StageError where it is no image of three channels
    in a type that is known."""
    inputs = interpreter.get_input_details()
    if len(inputs) != 1:
        raise StageError(f"has {len(inputs)} inputs; an image alone is needed", where=where)
    shape, dtype = list(map(int, inputs[0]["shape"])), inputs[0]["dtype"].__name__
    if dtype not in INPUTS or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise StageError(
            f"its input is {dtype} of shape {shape}; an image of three channels in "
            f"{', '.join(INPUTS)} is needed",
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


def open_tflite(path: Path, normalization: Normalization | None, threads: int) -> TfliteRunner:
    """Open a TFLite file. A normalization of ours in its metadata wins over the one given, because
    a quantized model reads the image's bytes on a grid of its own."""
    from pipeline.runners.tflite_declared import own_preprocess

    interpreter = make_interpreter(path, threads)
    own = own_preprocess(path)
    chosen = normalization if own is None else own.normalization
    if chosen is None:
        raise StageError(
            "declares no preprocessing", where=str(path), hint="give a recipe with data.preprocess"
        )
    return TfliteRunner(interpreter, chosen, str(path))
