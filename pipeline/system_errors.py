"""What the operating system refuses, as errors that say where and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StageError


@contextmanager
def system_errors_explained(where: str, folder: Path) -> Iterator[None]:
    """Turn what the system raises in the body into a StageError; `folder` is what is written to.

    Raises StageError for a full disk, too little memory and every other OSError.
    """
    try:
        yield
    except MemoryError as error:
        raise StageError(
            "there is not enough memory", where=where, hint="close other programs"
        ) from error
    except Exception as error:
        if _is_disk_full(error):
            raise StageError(
                "the disk is full; nothing half made was left behind",
                where=where,
                hint=f"make room on the disk of {folder} and run the same command again",
            ) from error
        if isinstance(error, OSError):
            raise StageError(str(error), where=where) from error
        raise


def _is_disk_full(error: BaseException | None) -> bool:
    """Also when a library wrapped the system's error in one of its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
