"""What a word of the command line is: a model file, by its ending, or a name of timm's."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pipeline.errors import StageError, UsageError
from pipeline.init.ask import Ask
from pipeline.init.findings import ModelFindings
from pipeline.init.look_onnx import look_at_onnx
from pipeline.init.look_tflite import look_at_tflite
from pipeline.init.look_weights import look_at_checkpoint, look_at_name
from pipeline.system_errors import system_errors_explained

Kind = Literal["onnx", "tflite", "weights"]
KINDS: Mapping[str, Kind] = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    **dict.fromkeys((".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt"), "weights"),
}
"""By ending, in lower case."""
REFUSED: Mapping[str, tuple[str, str]] = {
    ".synap": ("is compiled already", "see what is in it: pipeline inspect"),
    ".yaml": ("is no model", "a recipe is run: make convert CONFIG=file"),
    **dict.fromkeys(
        (".h5", ".keras", ".pb"),
        ("is a TensorFlow model", "convert it to TFLite with tf.lite.TFLiteConverter"),
    ),
}


def look(model: str, arch: str | None, ask: Ask | None) -> ModelFindings:
    """What is known of a model file or a name of timm's.

    `arch` is timm's name of a weights file's architecture. Raises PipelineError, in the words of a
    run, for what no run could take.
    """
    path = Path(model)
    kind = KINDS.get(path.suffix.lower())
    if arch is not None and kind != "weights":
        raise UsageError(
            f"says of which architecture a weights file is; {model} is none", where="--arch"
        )
    if path.is_dir():
        return _look_at_folders_name(model)
    if kind is None and not path.is_file():
        if "/" in model or path.suffix.lower() in REFUSED:
            hint = "give a model file, or a name of timm's (inception_v4.tf_in1k)"
            raise StageError("there is no such file", where=model, hint=hint)
        return look_at_name(model)
    if kind is None:
        what, hint = REFUSED.get(
            path.suffix.lower(), ("is no model by its ending", f"known: {', '.join(KINDS)}")
        )
        raise UsageError(what, where=model, hint=hint)
    if not path.is_file():
        raise StageError("there is no such file", where=model, hint="mend the path")
    with system_errors_explained(model, path.parent):
        if kind == "weights":
            return look_at_checkpoint(path, arch, ask)
        return look_at_onnx(path, ask) if kind == "onnx" else look_at_tflite(path, ask)


def _look_at_folders_name(model: str) -> ModelFindings:
    """A model of timm's whose name some folder here has too. Raises UsageError for any other folder."""
    if "/" not in model:
        try:
            return look_at_name(model)
        except UsageError:
            pass  # no name of timm's, so the folder was meant
    raise UsageError(
        "is a folder, and a model is expected",
        where=model,
        hint=f"if it has the images: pipeline init MODEL --data {shlex.quote(model)}, where MODEL is a "
        f"file ({', '.join(KINDS)}) or a name of timm's (inception_v4.tf_in1k)",
    )
