"""Which preprocessing a model file asks for."""

from collections.abc import Callable
from pathlib import Path

from pipeline.artifact import Format
from pipeline.data.preprocess import Preprocess
from pipeline.errors import UsageError
from pipeline.runners.onnx import declared_preprocess, make_session
from pipeline.runners.synap import cpu_subgraph
from pipeline.runners.tflite_declared import tflite_preprocess


def preprocess_for(
    path: Path,
    format: Format,
    given: Preprocess | None,
    say: Callable[[str], None] = lambda text: None,
) -> Preprocess:
    """What the file itself declares, or else what was given. Raises UsageError for neither.

    A bundle declares it in the ONNX model inside, because SyNAP's own meta has no geometry. What
    has to be assumed of a TFLite file that others made is told to `say`.
    """
    if format == "tflite":
        return tflite_preprocess(path, given, say)
    if format == "synap":
        session = make_session(cpu_subgraph(path).model, 1, where=str(path))
    else:
        session = make_session(path, 1)
    declared = declared_preprocess(session.get_modelmeta().custom_metadata_map, str(path))
    if declared is None and given is None:
        raise UsageError(
            "declares no preprocessing",
            where=str(path),
            hint="give a recipe with data.preprocess: --config FILE",
        )
    # A quantized file's own normalization is on its grid of integers, so it wins.
    return declared or given  # type: ignore[return-value]
