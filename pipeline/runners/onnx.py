"""Run float and QDQ ONNX with ONNX Runtime, so that INT8 means the same on every CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.preprocess import METADATA_KEY, Normalization, Preprocess
from pipeline.errors import StageError
from pipeline.runners.fit import OTHER_PREPROCESSING, require_fit

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray


def make_session(
    model: Path | bytes,
    threads: int,
    *,
    where: str = "",
    optimize: bool = True,
    spin: bool = True,
    weights: "Mapping[str, NDArray[np.generic]] | None" = None,
) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session on the CPU. Raises StageError where it refuses the model.

    `weights` are the arrays of initializers that the model declares as external.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it says of an error stands in the exception as well
    options.enable_mem_pattern = False
    # x86 CPUs without VNNI add pairs of uint8*int8 products in saturating 16 bits, so the same
    # file can score points apart on two machines. This makes ONNX Runtime use the exact uint8
    # kernels there; on CPUs with VNNI and on Arm it changes nothing. See docs/decisions/0004.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not spin:
        # Idle threads of the session leave the cores to whoever works between two runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    values = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
        for name, array in (weights or {}).items()
    }
    if values:
        options.add_external_initializers(list(values), list(values.values()))
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise StageError(
            f"ONNX Runtime refuses the model: {str(error).splitlines()[0]}",
            where=where or str(model if isinstance(model, Path) else "model"),
        ) from error
    session.arrays_in_use = (values, weights)  # it reads them in place and does not own them
    return session


class OnnxRunner:
    """A classifier of one image input and one logits output."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        normalization: Normalization,
        where: str,
    ) -> None:
        self._session = session
        self._normalization = normalization
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            raise StageError(
                f"has {len(inputs)} inputs and {len(outputs)} outputs; a classifier of one "
                "float32 image input and one logits output is needed",
                where=where,
            )
        self._input = inputs[0].name
        self._shape = inputs[0].shape
        self._where = where

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np

        images = self._normalization.apply(crops)
        require_fit(self._shape[1:], images.shape[1:], self._where)
        size = self._shape[0] if isinstance(self._shape[0], int) else len(images)
        parts = [self._run(images[i : i + size], size) for i in range(0, len(images), size)]
        return np.concatenate(parts)

    def _run(self, images: "NDArray[np.float32]", size: int) -> "NDArray[np.float32]":
        """Logits of at most `size` images; a model of a fixed batch size gets the last repeated."""
        import numpy as np

        if len(images) < size:
            padding = np.repeat(images[-1:], size - len(images), axis=0)
            return self._run(np.concatenate([images, padding]), size)[: len(images)]
        hint = OTHER_PREPROCESSING
        if size > 1:
            hint = (
                f"it was given {size} images at once: if it takes but one, save it with a batch "
                "size of 1"
            )
        logits = run_session(self._session, {self._input: images}, self._where, hint)
        if logits.size % size:
            raise StageError(
                f"gives {logits.size} numbers for {size} images", where=self._where, hint=hint
            )
        return logits.reshape(size, -1)


def run_session(
    session: "onnxruntime.InferenceSession",
    feeds: "Mapping[str, NDArray[np.float32]]",
    where: str,
    hint: str,
) -> "NDArray[np.float32]":
    """The first output. Raises StageError where ONNX Runtime cannot make it of what it is fed."""
    try:
        result: NDArray[np.float32] = session.run(None, feeds)[0]
    except MemoryError:
        raise
    except Exception as error:  # as in make_session
        raise StageError(
            f"ONNX Runtime cannot run the model: {str(error).splitlines()[0]}",
            where=where,
            hint=hint,
        ) from error
    return result


def open_onnx(path: Path, normalization: Normalization | None, threads: int) -> OnnxRunner:
    """Open an ONNX file. A normalization in its metadata wins over the one given, because a
    quantized model reads the image's bytes on a grid of its own."""
    session = make_session(path, threads)
    own = declared_preprocess(session.get_modelmeta().custom_metadata_map, str(path))
    chosen = normalization if own is None else own.normalization
    if chosen is None:
        raise StageError(
            "declares no preprocessing", where=str(path), hint="give a recipe with data.preprocess"
        )
    return OnnxRunner(session, chosen, str(path))


def declared_preprocess(metadata: Mapping[str, str], where: str) -> Preprocess | None:
    """The preprocessing that stands in an ONNX file's metadata, if one does."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        return None
    try:
        return Preprocess.model_validate_json(text)
    except ValueError as error:
        raise StageError(f"metadata {METADATA_KEY} is damaged: {error}", where=where) from None
