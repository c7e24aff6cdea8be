"""Where downloads are kept between runs, and whether there may be any."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StageError, UsageError
from pipeline.progress import Progress

FOLDER = "PIPELINE_CACHE"
OFFLINE = ("PIPELINE_OFFLINE", "HF_HUB_OFFLINE")
_YES = {"1", "true", "yes", "on"}


def cache_folder() -> Path:
    """`PIPELINE_CACHE`, else `synap-pipeline` in `XDG_CACHE_HOME` or `~/.cache`; it need not exist.

    Raises UsageError where no home folder is known either.
    """
    own = os.environ.get(FOLDER)
    if own:
        return Path(own).expanduser().absolute()
    # The XDG base directory specification: a path that is not absolute counts as not set.
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = xdg if xdg.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise UsageError(
            "there is no folder for downloads, because this user has no home folder",
            hint=f"set {FOLDER} to a folder",
        ) from error
    return base / "synap-pipeline"


def offline() -> str | None:
    """The environment variable that forbids downloads, or None."""
    return next((name for name in OFFLINE if os.environ.get(name, "").lower() in _YES), None)


@contextmanager
def alone(path: Path, progress: Progress) -> Iterator[None]:
    """Let only one run at a time work on what is made at `path` in the cache; others wait.

    Raises StageError where the cache cannot be written, also for what the body raises of the kind.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note(f"{path.name}: another run is at it; waiting")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise StageError(
            f"the cache of downloads cannot be used ({error.strerror or error})",
            where=str(error.filename or path.parent),
            hint=f"make room or make it writable, or set {FOLDER} to another folder",
        ) from error
