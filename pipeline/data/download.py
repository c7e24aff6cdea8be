"""Downloads that resume, are held to a digest, and never leave anything half made.

In the cache folder a file `x` has beside it `x.partial` (what has arrived; kept when a run is
killed), `x.partial.json` (what the server called that version), `x.json` (address and digest of the
first complete download) and `x.lock` (one run downloads, others wait). Proxies are those of the
environment (`https_proxy`, `no_proxy`, …), certificates those of the system.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact import digest_of_path, write_text
from pipeline.data.cache import FOLDER, alone, cache_folder, offline
from pipeline.data.transfer import Transfer
from pipeline.errors import Missing, MissingError, StageError
from pipeline.progress import Progress

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try after one that brought nothing."""


@dataclass(frozen=True)
class Remote:
    """A file on the net that never changes."""

    name: str
    """Its name in the cache."""
    url: str
    sha256: str | None = None
    """Published digest; without one the digest of the first download is recorded."""
    published: str = ""
    """Where the digest is published."""
    size: int | None = None
    """Bytes, where published."""
    by_hand: str = ""
    """What to do with a copy that was downloaded by other means."""


@dataclass(frozen=True)
class Downloaded:
    """A complete file that has the digest it should have."""

    path: Path
    sha256: str
    evidence: str
    """What the digest was held to, for the user."""

    def forget(self) -> None:
        """Remove the file, and its digest from the record of first downloads."""
        self.path.unlink(missing_ok=True)
        _record(self.path).unlink(missing_ok=True)


def download_missing(remote: Remote) -> list[Missing]:
    """What keeps the file from being downloaded: offline mode, or no room. Makes no request."""
    if (cache_folder() / remote.name).is_file():
        return []
    variable = offline()
    if variable is not None:
        return [
            Missing(
                f"{remote.name} is not in the cache, and {variable} forbids downloads",
                f"unset {variable}, or {remote.by_hand or f'put {remote.url} there'}",
            )
        ]
    if remote.size is not None and _room(cache_folder()) < remote.size:
        return [
            Missing(
                f"room for a download of {remote.size / 1e6:.0f} MB in {cache_folder()}",
                f"make room, or set {FOLDER} to a folder on another disk",
            )
        ]
    return []


def download(remote: Remote, progress: Progress, waits: tuple[float, ...] = WAITS) -> Downloaded:
    """The file, from the cache or the net.

    Raises MissingError in offline mode, and StageError where the file cannot be had, has not the
    digest it should have, or cannot be written.
    """
    path = cache_folder() / remote.name
    with alone(path, progress):
        known = remote.sha256 or _recorded(path, remote.url)
        if path.is_file():
            sha256 = digest_of_path(path)
            if known in (None, sha256):
                return _accepted(remote, path, sha256, known)
            progress.note(f"{path} is not what it was; downloading it again")
            path.unlink()
        if missing := download_missing(remote):
            raise MissingError(missing)
        partial, sha256 = _fetched(remote, known, path, progress, waits)
        partial.replace(path)
        return _accepted(remote, path, sha256, known)


def _fetched(
    remote: Remote, known: str | None, path: Path, progress: Progress, waits: tuple[float, ...]
) -> tuple[Path, str]:
    """The complete file under its temporary name, and its digest. Raises StageError if its digest is another."""
    transfer = Transfer(
        url=remote.url,
        partial=path.with_name(f"{path.name}.partial"),
        size=remote.size,
        resume_unnamed=known is not None,
        by_hand=remote.by_hand,
    )
    for again in (False, True):
        from_start = transfer.run(progress, waits)
        sha256 = digest_of_path(transfer.partial)
        if known in (None, sha256):
            transfer.forget()
            return transfer.partial, sha256
        size = transfer.partial.stat().st_size
        transfer.discard()
        if not (from_start or again):
            progress.note(f"{remote.name}: the pieces do not make the file; starting again")
            continue
        break
    held_to = remote.published or "recorded when it was first downloaded"
    raise StageError(
        f"what was downloaded ({size} bytes) has sha256 {sha256}, not {known} ({held_to})",
        where=remote.url,
        hint="a proxy may have answered in its place, or the file was replaced: open the "
        "address in a browser to see" + (f", or {remote.by_hand}" if remote.by_hand else ""),
    )


def _accepted(remote: Remote, path: Path, sha256: str, known: str | None) -> Downloaded:
    if remote.sha256 is not None:
        return Downloaded(path, sha256, f"as published ({remote.published})")
    if known is not None:
        return Downloaded(path, sha256, "as recorded on first use; none is published")
    record = {"url": remote.url, "sha256": sha256, "bytes": path.stat().st_size}
    write_text(_record(path), json.dumps(record, indent=1) + "\n")
    return Downloaded(path, sha256, "recorded now, on first use; none is published")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _recorded(path: Path, url: str) -> str | None:
    """The digest of the first download, if there was one from this address."""
    place = _record(path)
    try:
        record = json.loads(place.read_bytes())
        sha256: str = record["sha256"]
        if len(bytes.fromhex(sha256)) != 32:
            raise ValueError("no sha256")
        return sha256 if record["url"] == url else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StageError(
            f"the record of the first download is damaged ({error or type(error).__name__})",
            where=str(place),
            hint="remove it to have the next download's digest recorded",
        ) from error


def _room(folder: Path) -> int:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free
