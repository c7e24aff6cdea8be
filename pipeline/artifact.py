"""What a stage leaves behind: a file or a folder, its format and its digest."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Format = Literal["torch", "onnx", "qdq-onnx", "tflite", "synap", "plan"]
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Artifact:
    """A finished file or folder; `sha256` is over the content, `size` in bytes."""

    path: Path
    format: Format
    sha256: str
    size: int


def canonical_json(data: Mapping[str, Any]) -> str:
    """JSON with one spelling for one value, so that equal data has equal digests."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of_data(data: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of `data`, as hex."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def digest_of_path(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, over the names and digests of its files."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        lines = [f"{digest_of_path(p)}  {p.relative_to(path).as_posix()}\n" for p in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of_path(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the body succeeds, else vanishes.

    Readers see the old file or the whole new one, never half of it, even after a kill.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish(source: Path, path: Path) -> None:
    """Put a copy of a stored file at `path` atomically, sharing the bytes where the disk can."""
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)


def link_file(source: Path, path: Path) -> None:
    """A file under a second name, sharing its bytes where the disk can."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
