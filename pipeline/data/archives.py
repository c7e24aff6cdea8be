"""Datasets that are published as archives: downloaded and unpacked once, into the cache."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact import write_text
from pipeline.data.cache import alone, cache_folder
from pipeline.data.download import Remote, download, download_missing
from pipeline.data.unpack import BadArchive, Limits, unpack
from pipeline.errors import Missing, MissingError
from pipeline.progress import Progress


@dataclass(frozen=True)
class Archive:
    """An archive and what may be in it."""

    remote: Remote
    limits: Limits

    @property
    def folder(self) -> Path:
        """Where it is unpacked. Another published digest has a folder of its own."""
        version = "" if self.remote.sha256 is None else f"-{self.remote.sha256[:12]}"
        return cache_folder() / f"{self.remote.name.partition('.')[0]}{version}"


def archive_missing(archive: Archive) -> list[Missing]:
    """What keeps it from being used. Makes no request."""
    return [] if archive.folder.is_dir() else download_missing(archive.remote)


def obtain(archive: Archive, progress: Progress) -> tuple[Path, str]:
    """The folder it is unpacked in, and where that came from, for the user.

    Downloads and unpacks what is not there; two runs at once share the work. Raises MissingError in
    offline mode and StageError where it cannot be had or is not what it should be.
    """
    folder = archive.folder
    if not folder.is_dir():
        if missing := archive_missing(archive):
            raise MissingError(missing)
        with alone(folder, progress):
            if not folder.is_dir():
                _unpack(archive, progress)
    return folder, _source_of(folder)


def _unpack(archive: Archive, progress: Progress) -> None:
    remote, folder = archive.remote, archive.folder
    downloaded = download(remote, progress)
    source = f"{remote.url} (sha256 {downloaded.sha256}, {downloaded.evidence})"
    write_text(_source(folder), json.dumps({"source": source}) + "\n")
    try:
        unpack(downloaded.path, folder, archive.limits, progress)
    except BadArchive:
        if remote.sha256 is None:
            # A digest of something else must not be what the next download is held to.
            downloaded.forget()
        raise
    downloaded.path.unlink()


def _source(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.source.json")


def _source_of(folder: Path) -> str:
    try:
        return str(json.loads(_source(folder).read_bytes())["source"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "the cache, which does not say where it is from"
