"""Digests of image files, remembered between runs so that a file is read once and not every time.

A remembered digest holds as long as the file's size and time do. The index is only a memory: it
can be deleted at any time, runs that write it at once do no harm (the last one's file stays, with
what it could merge), and a damaged one is built anew.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pipeline.data.dataset import BrokenImage, Dataset, Fingerprint, content_digest
from pipeline.data.look_ahead import look_ahead
from pipeline.progress import Progress

FORMAT = 1
SECONDS_BETWEEN_SAVES = 30.0
_UNCHECKED = None
_SOUND = ""


class _Entry(NamedTuple):
    size: int
    mtime_ns: int
    digest: str
    fault: str | None
    """None: never decoded. Empty: decodes. Else why it does not."""

    def holds_for(self, file: Fingerprint) -> bool:
        return self.size == file.size and self.mtime_ns == file.mtime_ns


class _Damaged(Exception):
    pass


class DigestIndex:
    """The digests of the image files seen so far, stored as JSON in the file `path`."""

    def __init__(self, path: Path, workers: int = 2) -> None:
        self.path = path
        self._workers = workers
        self._notes: list[str] = []
        self._decoder = f"Pillow {version('pillow')}"
        self._found: dict[str, _Entry] = {}
        self._saved_at = time.monotonic()
        try:
            self._known = self._read()
        except _Damaged as error:
            self._known = {}
            self._notes.append(f"{path} is damaged ({error}); images are read again to rebuild it")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: that the index was damaged, or could not be stored."""
        return tuple(self._notes)

    def digests(
        self, dataset: Dataset, ids: Iterable[str], progress: Progress
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The digest of every image, and for every image that cannot be read the reason.

        Reads only files that are new or changed.
        """
        digests: dict[str, str] = {}
        unreadable: dict[str, str] = {}
        unread: list[tuple[str, Fingerprint]] = []
        for id in ids:
            try:
                file = dataset.fingerprint(id)
                if file is None:
                    digests[id] = content_digest(dataset.content(id))
                    continue
            except BrokenImage as error:
                unreadable[id] = error.reason
                continue
            entry = self._entry(file)
            if entry is None:
                unread.append((id, file))
            else:
                digests[id] = entry.digest

        def read(work: tuple[str, Fingerprint]) -> tuple[str, Fingerprint, str, str]:
            id, file = work
            try:
                return id, file, content_digest(dataset.content(id)), ""
            except BrokenImage as error:
                return id, file, "", error.reason

        if unread:
            with progress.bar(f"reading {dataset.name} images", len(unread)) as bar:
                for id, file, digest, fault in look_ahead(
                    read, unread, workers=self._workers, limit=16 * self._workers
                ):
                    if fault:
                        unreadable[id] = fault
                    else:
                        digests[id] = digest
                        self._remember(file, digest, _UNCHECKED)
                    bar.advance()
        return digests, unreadable

    def broken(self, dataset: Dataset, ids: Iterable[str], progress: Progress) -> dict[str, str]:
        """For every one of these images that cannot be decoded the reason.

        Decodes only what was never decoded before by this version of Pillow. An image that is no
        file (it has no fingerprint) is not looked at.
        """
        broken: dict[str, str] = {}
        undecoded: list[tuple[str, Fingerprint]] = []
        for id in ids:
            try:
                file = dataset.fingerprint(id)
            except BrokenImage as error:
                broken[id] = error.reason
                continue
            if file is None:
                continue
            entry = self._entry(file)
            if entry is None or entry.fault is _UNCHECKED:
                undecoded.append((id, file))
            elif entry.fault != _SOUND:
                broken[id] = entry.fault

        def decode(work: tuple[str, Fingerprint]) -> tuple[str, Fingerprint, str, str]:
            id, file = work
            digest = ""
            try:
                content = dataset.content(id)
                digest = content_digest(content)
                dataset.decode(id, content)
            except BrokenImage as error:
                return id, file, digest, error.reason
            return id, file, digest, _SOUND

        if undecoded:
            with progress.bar(f"checking {dataset.name} images", len(undecoded)) as bar:
                for id, file, digest, fault in look_ahead(
                    decode, undecoded, workers=self._workers, limit=4 * self._workers
                ):
                    if fault != _SOUND:
                        broken[id] = fault
                    if digest:
                        self._remember(file, digest, fault)
                    bar.advance()
        return broken

    def save(self) -> None:
        """Store what was found since, together with what other runs stored meanwhile.

        A file that cannot be written is a note and no error: the next run reads the images again.
        """
        if not self._found:
            return
        try:
            stored = self._read()
        except _Damaged:
            stored = {}
        self._known = {
            path: entry for path, entry in (self._known | stored).items() if os.path.exists(path)
        } | self._found
        document = {"format": FORMAT, "decoder": self._decoder, "files": self._known}
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document, separators=(",", ":")), encoding="ascii")
            os.replace(temporary, self.path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            self._notes.append(
                f"the digests of the images could not be stored ({error}); "
                "the next run reads the images again"
            )
        self._found = {}
        self._saved_at = time.monotonic()

    def _entry(self, file: Fingerprint) -> _Entry | None:
        entry = self._found.get(file.path) or self._known.get(file.path)
        return entry if entry is not None and entry.holds_for(file) else None

    def _remember(self, file: Fingerprint, digest: str, fault: str | None) -> None:
        self._found[file.path] = _Entry(file.size, file.mtime_ns, digest, fault)
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    def _read(self) -> dict[str, _Entry]:
        try:
            document = json.loads(self.path.read_bytes())
            if document["format"] != FORMAT:
                raise _Damaged(f"format {document['format']} is not {FORMAT}")
            same_decoder = document["decoder"] == self._decoder
            files = {path: _checked(entry) for path, entry in document["files"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _Damaged(f"unreadable: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _Damaged("not an index of digests") from error
        if same_decoder:
            return files
        return {path: entry._replace(fault=_UNCHECKED) for path, entry in files.items()}


def _checked(stored: list[object]) -> _Entry:
    size, mtime_ns, digest, fault = stored
    if not (
        isinstance(size, int)
        and isinstance(mtime_ns, int)
        and (isinstance(digest, str) and len(digest) == 64)
        and (fault is None or isinstance(fault, str))
    ):
        raise ValueError("not an entry")
    return _Entry(size, mtime_ns, digest, fault)
