"""What is in a model file or metafile, said without running it and whoever made it.

Readers trust nothing: sizes are checked before they are used, nothing is unpacked or executed, no
path in a file is followed, and memory stays within a small multiple of the file's own size.
"""

from collections.abc import Callable
from pathlib import Path

from pipeline.artifact import digest_of_path
from pipeline.errors import PipelineError, StageError, UsageError
from pipeline.inspect.bundle_file import describe_bundle
from pipeline.inspect.content import MAX_BYTES
from pipeline.inspect.inspection import Contents, Inspection
from pipeline.inspect.metafile_file import describe_metafile
from pipeline.inspect.onnx_file import describe_onnx
from pipeline.inspect.printable import printable, printable_lines
from pipeline.inspect.tflite_file import describe_tflite
from pipeline.system_errors import system_errors_explained

READERS: dict[str, Callable[[Path], Contents]] = {
    ".synap": describe_bundle,
    ".onnx": describe_onnx,
    ".tflite": describe_tflite,
    ".yaml": describe_metafile,
    ".yml": describe_metafile,
}
"""By file ending, in lower case."""
MAX_MESSAGE = 4_000
"""Characters of an error; names in a hostile file can be long."""


def inspect_file(path: Path) -> Inspection:
    """Describe one file.

    Raises UsageError for an ending that is not known and for a metafile that is none, StageError
    where the file is missing or damaged.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"cannot inspect {path.name}", hint=f"known: {', '.join(READERS)}")
    try:
        with system_errors_explained(str(path), path.parent):
            if not path.is_file():
                raise StageError("there is no such file", where=str(path))
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise StageError(
                    f"{size} bytes are more than such a file can have", where=str(path)
                )
            return Inspection(str(path), size, digest_of_path(path), reader(path))
    except PipelineError as error:
        error.what = printable_lines(error.what, MAX_MESSAGE)
        error.hint = printable(error.hint, MAX_MESSAGE)
        raise
