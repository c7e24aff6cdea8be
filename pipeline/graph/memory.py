"""How much memory the file of a stranger may take.

A file of a kilobyte can say to join a list with itself forty times, or to fill a tensor whose size it
computes while it runs. No rule of the import could foresee every such way, so the operating system
is asked to refuse: on Linux the process may take a fixed amount more than it has, and what asks for
more ends in words. Elsewhere the system knows no such limit, and only the rules of the import hold
(`constant_folding.py`, `inference.py`).
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StageError

LEAST = 4 << 30
"""Bytes that any model may take: activations of the largest classifiers take a quarter."""
PER_BYTE = 8
"""Times the file's own bytes: the copies of the weights that are held at once are four or five."""
_ONE_AT_A_TIME = threading.RLock()
"""The limit is the process's own: of two threads, the second would find the first one's limit, and
leave it behind in the end."""


@contextmanager
def bounded_memory(path: Path, more: int | None = None) -> Iterator[None]:
    """Raises StageError where the body takes more than `more` bytes of memory beside what there is;
    by default what the model of this file, external data included, may take."""
    limit = _limit_for(path) if more is None else more
    try:
        with _ONE_AT_A_TIME, _limited(limit):
            yield
    except MemoryError as error:
        raise StageError(
            f"takes more than {limit / (1 << 30):.3g} GiB of memory, which no classifier of its size does",
            where=str(path),
            hint="one of its operators makes a huge tensor; export the model for one image size",
        ) from error


def _limit_for(path: Path) -> int:
    from pipeline.graph.foreign_file import external_files

    files = [path]
    if path.suffix.lower() == ".onnx":
        files += set(external_files(path).values())
    return max(LEAST, PER_BYTE * sum(file.stat().st_size for file in files if file.is_file()))


@contextmanager
def _limited(more: int) -> Iterator[None]:
    """Lower the process's limit for its own data (RLIMIT_DATA), which counts what is written to."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + more
    if soft != resource.RLIM_INFINITY:
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """What the process has now of what the limit counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    raise AssertionError("Linux says it of every process")
