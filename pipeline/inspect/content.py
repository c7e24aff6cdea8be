"""The bytes of a file that is inspected, and the error for what is wrong in them."""

from pathlib import Path

from pipeline.errors import StageError

MAX_BYTES = 2**31 - 1
"""Neither protobuf nor flatbuffers nor bundles can be larger."""


class Damaged(ValueError):
    """What is wrong in a file, in words; readers turn it into a StageError that says where."""


def read_content(path: Path) -> bytes:
    """The whole file. Raises StageError where it is too large or changes under the hand."""
    try:
        with path.open("rb", buffering=0) as stream:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise StageError(
                    f"{size} bytes are more than a model file can have", where=str(path)
                )
            content = stream.read(size) or b""
    except OSError as error:
        raise StageError(f"cannot be read: {error}", where=str(path)) from None
    if len(content) != size:
        raise StageError("changed while it was read", where=str(path))
    return content
