"""Weights from the Hugging Face hub, through its own client.

The client's rules hold: its cache (`HF_HOME`), its mirrors (`HF_ENDPOINT`), its offline mode
(`HF_HUB_OFFLINE`), its token. Added here: a quick look before long work, the digest of what was
downloaded, and room on the disk.
"""

import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import digest_of_path
from pipeline.errors import StageError
from pipeline.progress import Bar, Progress
from pipeline.sources.hub_errors import HubError, client_settings, no_room, translated, unreachable

if TYPE_CHECKING:
    from huggingface_hub.file_download import HfFileMetadata

FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a repository's weights file, best first."""
_LOOK_TIMEOUT = 3.0
_LOOK_LIMIT = 5.0
"""Seconds that one request of the quick look may wait, and that all of it may take."""
_FETCH_TIMEOUT = 10.0
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file in the client's cache, and the commit and digest it has."""

    path: Path
    repository: str
    commit: str
    sha256: str


def is_cached(repository: str, revision: str | None, files: tuple[str, ...] = FILES) -> bool:
    """Whether the client's cache has one of the files, without any request."""
    client_settings()
    return any(_cached(repository, file, revision) is not None for file in files)


def look(repository: str, revision: str | None, files: tuple[str, ...] = FILES) -> None:
    """Ask the hub whether it has one of the files and the disk has room, within about 5 s.

    Raises HubError, or StageError without room.
    """

    client_settings()

    def ask() -> None:
        _, metadata = _first_there(repository, revision, files, _LOOK_TIMEOUT)
        _require_room(metadata.size, repository)

    # In a thread, because looking up the name of a host cannot be given a timeout.
    done: Future[None] = Future()
    threading.Thread(target=_run, args=(ask, done), daemon=True).start()
    try:
        done.result(_LOOK_LIMIT)
    except TimeoutError:
        raise unreachable(repository, f"no answer in {_LOOK_LIMIT:g} s") from None


def fetch(
    repository: str,
    revision: str | None,
    progress: Progress,
    files: tuple[str, ...] = FILES,
) -> HubFile:
    """The first of `files` that the repository has, from the cache or downloaded.

    Out of the hub's reach the cache is used and said to be. The file's digest is compared with the
    one the hub declares for large files; a damaged copy in the cache is downloaded once more.
    Raises HubError, or StageError for a full disk and for bytes other than those declared.
    """
    with _notes_of_client(progress):
        try:
            file, metadata = _first_there(repository, revision, files, _FETCH_TIMEOUT)
        except HubError as error:
            kept = [path for file in files if (path := _cached(repository, file, revision))]
            if not kept:
                raise
            progress.note(f"{error.what}; using the copy in the hub client's cache")
            return _checked(kept[0], digest_of_path(kept[0]), repository, _name_of_blob(kept[0]))
        path = _cached(repository, file, metadata.commit_hash)
        if path is not None:
            sha256 = digest_of_path(path)
            if not _contradicts(metadata.etag, sha256):
                return _checked(path, sha256, repository, metadata.etag)
            progress.note(f"{file} of {repository} is damaged in the cache; downloading it again")
        _require_room(metadata.size, repository)
        with progress.bar(f"download {repository}", float(metadata.size or 0)) as bar:
            path = _download(repository, file, revision, bar, again=path is not None)
        return _checked(path, digest_of_path(path), repository, metadata.etag)


def _first_there(
    repository: str, revision: str | None, files: tuple[str, ...], timeout: float
) -> "tuple[str, HfFileMetadata]":
    """Name and metadata of the first of the files that the hub has, one request for each."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for file in files:
        try:
            with translated(repository, revision):
                url = hf_hub_url(repository, file, revision=revision)
                metadata = get_hf_file_metadata(url, timeout=timeout)
        except RemoteEntryNotFoundError:
            continue
        if metadata.commit_hash is None:  # a firewall's login page, say
            raise unreachable(repository, "what answers is not a hub")
        return file, metadata
    raise HubError(
        f"the repository has no weights under the name {' or '.join(files)}",
        where=repository,
        hint="download its weights by hand and give them by WEIGHTS=file or --weights file",
    )


def _download(repository: str, file: str, revision: str | None, bar: Bar, again: bool) -> Path:
    from huggingface_hub import hf_hub_download

    with translated(repository, revision):
        return Path(
            hf_hub_download(
                repository,
                file,
                revision=revision,
                force_download=again,
                tqdm_class=_bar_class(bar),
            )
        )


def _checked(path: Path, sha256: str, repository: str, etag: str | None) -> HubFile:
    if _contradicts(etag, sha256):
        raise StageError(
            f"{path.name} does not have the bytes the hub declares (sha256 {sha256}, not {etag})",
            where=str(path),
            hint=f"run again with {repository} in reach to download it anew",
        )
    return HubFile(path, repository, path.parent.name, sha256)


def _contradicts(etag: str | None, sha256: str) -> bool:
    """Whether the hub declares another digest. Only of large files is the etag a sha256."""
    return bool(etag and _SHA256.fullmatch(etag)) and sha256 != etag


def _name_of_blob(path: Path) -> str | None:
    """The etag a cached file was downloaded under, which its link in the cache points at."""
    return path.readlink().name if path.is_symlink() else None


def _cached(repository: str, file: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    with translated(repository, revision):
        found = try_to_load_from_cache(repository, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _require_room(size: int | None, repository: str) -> None:
    folder = Path(client_settings().HF_HUB_CACHE)
    # Not Path.exists, which raises where a folder above may not be entered.
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    with translated(repository, None):
        free = shutil.disk_usage(there).free
    if size is not None and free < size:
        raise no_room(size, str(folder), repository)


def _run(call: Callable[[], None], done: "Future[None]") -> None:
    try:
        call()
        done.set_result(None)
    except Exception as error:  # noqa: BLE001  (handed to the thread that waits)
        done.set_exception(error)


@contextmanager
def _notes_of_client(progress: Progress) -> Iterator[None]:
    """What the client would print (that it tries again, say) becomes notes."""
    client_settings()
    import_module("huggingface_hub.utils.logging")  # installs the handler that prints
    logger = logging.getLogger("huggingface_hub")
    usual = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [_Notes(progress)], False
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = usual


class _Notes(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.note(" ".join(record.getMessage().split()))


def _bar_class(bar: Bar) -> type:
    """The client's idea of a progress bar, which shows nothing and tells `bar` instead."""
    from huggingface_hub import utils

    client: Any = utils
    parent = client.tqdm
    reached = 0.0

    def create(self: Any, *args: Any, **settings: Any) -> None:
        parent.__init__(self, *args, **{**settings, "disable": True})
        self.told = float(settings.get("initial") or 0)

    def update(self: Any, n: float | None = 1) -> None:
        # The client may have a bar for the network and one for the disk: the furthest counts.
        nonlocal reached
        self.told += n or 0
        if self.told > reached:
            bar.advance(self.told - reached)
            reached = self.told

    return type("ToldBar", (parent,), {"__init__": create, "update": update})
