"""The content-addressed store: every result under the key of what it was made from.

An entry is the folder `<root>/<kind>/<key>/` with the result's files and `entry.json`, which
repeats the fields of the key, so that the store can say which field changed. It is built in
`<key>.partial` under a lock and renamed when complete: a killed run leaves nothing half made, and
of two runs that want the same entry the second waits and then finds it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.artifact import digest_of_data, digest_of_path, size_of_path, write_text

KEY_LENGTH = 20


@dataclass(frozen=True)
class Entry:
    """A finished result. `about` is what its maker recorded (digests, seconds, memory)."""

    folder: Path
    fields: Mapping[str, Any]
    about: Mapping[str, Any]
    cached: bool

    def path(self, name: str) -> Path:
        return self.folder / name

    def sha256(self, name: str) -> str:
        """Digest of one of the entry's files, as recorded when it was made."""
        return str(self.about["files"][name]["sha256"])

    def size(self, name: str) -> int:
        return int(self.about["files"][name]["bytes"])


@dataclass(frozen=True)
class Change:
    """A field of a key that differs from that of another entry; None where one has no such field."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.old)} -> {_shown(self.new)}"


class Store:
    """Finds and makes entries. `say` is told what a user should know (waiting, damage)."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root = root
        self._tell = say
        self._told: set[str] = set()
        self.made: set[str] = set()
        """Of which kinds something was made, not found."""

    def find(self, kind: str, fields: Mapping[str, Any]) -> Entry | None:
        """The entry for these key fields, if it is there and undamaged."""
        folder = self._folder(kind, fields)
        try:
            record = _read_record(folder)
        except ValueError:
            self._say(f"{folder / 'entry.json'} is damaged; its result is made again")
            return None
        if record is None:
            return None
        damaged = [
            name for name, file in record["files"].items() if not _intact(folder, name, file)
        ]
        if damaged:
            self._say(f"{folder / damaged[0]} was changed since it was made; it is made again")
            return None
        return Entry(folder, record["fields"], record, cached=True)

    def get(
        self,
        kind: str,
        fields: Mapping[str, Any],
        build: Callable[[Path], Mapping[str, Any]],
    ) -> Entry:
        """The entry for these key fields, built by `build(folder)` if need be.

        `build` writes files into the folder it is given and returns JSON data to record.
        """
        entry = self.find(kind, fields)
        if entry is not None:
            return entry
        folder = self._folder(kind, fields)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(folder.with_suffix(".lock"), f"{kind} {folder.name}"):
            entry = self.find(kind, fields)  # another run may have made it meanwhile
            if entry is not None:
                return entry
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a killed run
            try:
                partial.mkdir()
                about = dict(build(partial))
                record = _write_record(
                    partial, {"fields": dict(fields), "files": _describe_files(partial), **about}
                )
                if folder.exists():
                    shutil.rmtree(folder)
                partial.rename(folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        self.made.add(kind)
        return Entry(folder, fields, record, cached=False)

    def difference(self, kind: str, fields: Mapping[str, Any]) -> str:
        """Why there is no entry, in words."""
        changes = self.changes(kind, fields)
        if changes is None:
            return "never made before"
        return "; ".join(map(str, changes[:4])) or "the stored result was damaged"

    def changes(self, kind: str, fields: Mapping[str, Any]) -> list[Change] | None:
        """The fields that differ from the nearest entry of this kind; None where there is none."""
        changes: list[Change] | None = None
        for path in (self.root / kind).glob("*/entry.json"):
            try:
                record = _read_record(path.parent) or {"fields": {}}
            except ValueError:
                continue
            candidate = _changes(record["fields"], fields)
            if changes is None or len(candidate) < len(changes):
                changes = candidate
        return changes

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock by name, for work outside the store's own entries."""
        return self._lock(self.root / "locks" / f"{name}.lock", name)

    @contextmanager
    def _lock(self, path: Path, what: str) -> Iterator[None]:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._say(f"another run is making {what}; waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def _folder(self, kind: str, fields: Mapping[str, Any]) -> Path:
        return self.root / kind / digest_of_data(fields)[:KEY_LENGTH]


def failure_log(entry: Path, name: str) -> Path:
    """Where in its store the log of a failure goes that outlives the folder `entry` of what was not
    made; one for each name, the last."""
    return entry.parent.parent / "logs" / name


def _describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Digest, size and newest change of everything directly in the folder."""
    return {
        path.name: {
            "sha256": digest_of_path(path),
            "bytes": size_of_path(path),
            "mtime_ns": _newest_change(path),
        }
        for path in sorted(folder.iterdir())
    }


def _newest_change(path: Path) -> int:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return max((p.stat().st_mtime_ns for p in files), default=0)


def _intact(folder: Path, name: str, file: Mapping[str, Any]) -> bool:
    """Whether a file is still what was recorded; only one that was touched is hashed again."""
    path = folder / name
    try:
        if size_of_path(path) != file["bytes"]:
            return False
        untouched = bool(_newest_change(path) == file["mtime_ns"])
        return untouched or bool(digest_of_path(path) == file["sha256"])
    except FileNotFoundError:  # lost, or another run is just making the entry again
        return False


def _write_record(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record with its own digest in it; the record as it will be read."""
    record: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    signed = {**record, "digest": digest_of_data(record)}
    write_text(folder / "entry.json", json.dumps(signed, indent=1))
    return record


def _read_record(folder: Path) -> dict[str, Any] | None:
    """The record of an entry, or None where there is none. Raises ValueError if it is damaged."""
    try:
        record = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, RecursionError) as error:
        raise ValueError("cannot be read") from error
    if not isinstance(record, dict) or record.pop("digest", None) != digest_of_data(record):
        raise ValueError("not what was written")
    return record


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    before, after = _flatten(old), _flatten(new)
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _shown(value: Any) -> str:
    text = "-" if value is None else str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
