"""Run TFLite classifiers of any origin with LiteRT: float, uint8 or int8 in and out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.runners.fit import require_fit
from pipeline.runners.litert import TYPES, channels_last, image_input, is_raw, make_interpreter
from pipeline.runners.tflite_declared import own_preprocess

if TYPE_CHECKING:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from numpy.typing import NDArray


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
        if self._output["dtype"].__name__ not in TYPES or (
            self._output["dtype"].__name__ != "float32" and not self._output["quantization"][0]
        ):
            raise StageError("its scores are neither float nor quantized to 8 bits", where=where)

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np

        images = self._prepared(crops)
        wanted = tuple(map(int, self._input["shape"]))
        require_fit(wanted[1:], images.shape[1:], self._where)
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


def open_tflite(path: Path, normalization: Normalization | None, threads: int) -> TfliteRunner:
    """Open a TFLite file. A normalization of ours in its metadata wins over the one given, because
    a quantized model reads the image's bytes on a grid of its own."""
    interpreter = make_interpreter(path, threads)
    own = own_preprocess(path)
    chosen = normalization if own is None else own.normalization
    if chosen is None:
        raise StageError(
            "declares no preprocessing", where=str(path), hint="give a recipe with data.preprocess"
        )
    return TfliteRunner(interpreter, chosen, str(path))
