"""One file over HTTP into a partial file, over as many connections as it takes.

A broken transfer goes on where it stopped, by `Range` with `If-Range` (RFC 9110, sections 13.1.5
and 14), so that pieces of two versions are never joined; an answer that is not the piece asked for
starts the file again.
"""

import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pipeline
from pipeline.artifact import write_text
from pipeline.errors import StageError
from pipeline.progress import Bar, Progress

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as dropped."""
MOST_TRIES = 100
MOST_BYTES = 16 << 30
"""Where neither the server nor a publication says how long the file is."""
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more (`Retry-After`) is asked again after this."""
_CHUNK = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _Dropped(Exception):
    """This try failed; the next may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass
class _Reached:
    """What the bar was told, which a file that starts again does not take back."""

    bar: Bar
    bytes: int = 0

    def at(self, bytes: int) -> None:
        if bytes > self.bytes:
            self.bar.advance(bytes - self.bytes)
            self.bytes = bytes


@dataclass(frozen=True)
class Transfer:
    """Brings `url` into the file `partial`, of which a part may be there already."""

    url: str
    partial: Path
    size: int | None
    """Bytes it must have, where known."""
    resume_unnamed: bool
    """Whether to go on with a part although the server names no version of the file: only where
    its digest is known."""
    by_hand: str = ""
    """For errors: what to do with a copy that was downloaded by other means."""

    def run(self, progress: Progress, waits: tuple[float, ...]) -> bool:
        """Fetch all of it; whether it came in one piece. `waits` are the seconds before each
        further try after tries that brought nothing.

        Raises StageError where the server does not give it or the net does not carry it.
        """
        fruitless = 0
        with progress.bar(f"download {self.partial.stem}", float(self.size or 0)) as bar:
            reached = _Reached(bar)
            for _ in range(MOST_TRIES):
                before = self._have()
                try:
                    return self._try(reached, progress)
                except _Dropped as error:
                    fruitless = 0 if self._have() > before else fruitless + 1
                    if fruitless > len(waits):
                        raise self._failed(str(error)) from error
                    there = f"{self._have() / 1e6:.0f} MB are there" if self._have() else ""
                    progress.note(
                        f"{self.partial.stem}: {error}; {there or 'nothing arrived yet'}, trying "
                        "again"
                    )
                    time.sleep(max(waits[fruitless - 1] if fruitless else 0.0, error.wait))
        raise self._failed(f"{MOST_TRIES} connections did not suffice")

    def forget(self) -> None:
        """Remove what is only of use while it is incomplete."""
        self._version_file.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what has arrived."""
        self.forget()
        self.partial.unlink(missing_ok=True)

    def _try(self, reached: _Reached, progress: Progress) -> bool:
        """One connection. Whether the whole file came over it; raises _Dropped if it broke."""
        have, version = self._resumable()
        with ExitStack() as closing:
            try:
                answer = closing.enter_context(self._asked(have, version))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 416 and have and _total(error.headers) == have:
                        return False
                    if error.code == 416:
                        self.discard()
                        raise _Dropped("the server has no such part of the file") from error
                    raise self._refused(error) from error
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise self._no_answer(error) from error
            start, total = self._place(answer, have, version)
            if None not in (total, self.size) and total != self.size:
                raise self._wrong_size(f"{total} bytes")
            if have and start == 0:
                progress.note(
                    f"{self.partial.stem}: the server does not resume, or has another version now; "
                    "starting again"
                )
            total = self.size if total is None else total
            self._note_version(answer.headers)
            arrived = self._copied(answer, start, total, reached)
        if total is not None and arrived < total:
            raise _Dropped("the connection broke off")
        return start == 0

    def _asked(self, have: int, version: str | None) -> Any:
        request = urllib.request.Request(
            self.url,
            headers={
                "User-Agent": f"synap-pipeline/{pipeline.__version__}",
                "Accept-Encoding": "identity",
            },
        )
        if have:
            request.add_header("Range", f"bytes={have}-")
            if version is not None:
                request.add_header("If-Range", version)
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)

    def _place(self, answer: Any, have: int, version: str | None) -> tuple[int, int | None]:
        """Where the answer's first byte belongs, and how long the file is, if that is said."""
        if answer.status == 200:
            length = answer.headers.get("Content-Length", "")
            return 0, int(length) if length.isascii() and length.isdecimal() else None
        if answer.status != 206 or not have:
            raise _Dropped(f"the server answers {answer.status}, which was not asked for")
        piece = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        changed = version is not None and _version(answer.headers, version) != version
        if piece is None or int(piece[1]) != have or changed:
            self.discard()
            raise _Dropped("the server sent another piece than was asked for")
        return have, None if piece[2] == "*" else int(piece[2])

    def _copied(self, answer: Any, start: int, total: int | None, reached: _Reached) -> int:
        """Write the body behind `start`; how long the file is then."""
        most = MOST_BYTES if total is None else total
        arrived = start
        reached.at(arrived)
        with self.partial.open("ab" if start else "wb") as file:
            while True:
                try:
                    chunk = answer.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _Dropped(_reason(error)) from error
                if not chunk:
                    return arrived
                arrived += len(chunk)
                if arrived > most:
                    self.discard()  # what was written of this answer is among it
                    raise self._wrong_size(f"more than {most} bytes")
                file.write(chunk)
                reached.at(arrived)

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def _resumable(self) -> tuple[int, str | None]:
        """How much is there to go on with, and what the server called that version."""
        version = self._noted_version()
        have = self._have()
        if have and version is None and not self.resume_unnamed:
            self.discard()
            have = 0
        if self.size is not None and have > self.size:
            self.discard()
            have = 0
        return have, version

    def _note_version(self, headers: Message) -> None:
        version = _version(headers, None)
        if version is None:
            self.forget()
        else:
            write_text(self._version_file, json.dumps({"url": self.url, "version": version}))

    def _noted_version(self) -> str | None:
        try:
            known = json.loads(self._version_file.read_bytes())
            version = known["version"] if known["url"] == self.url else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return version if isinstance(version, str) else None

    @property
    def _version_file(self) -> Path:
        return self.partial.with_name(f"{self.partial.name}.json")

    def _wrong_size(self, size: str) -> StageError:
        expected = "any file here has" if self.size is None else f"the published {self.size}"
        return self._failed(f"the server sends {size}, and not {expected}; it is another file")

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        if error.code not in _PASSING:
            return self._failed(f"the server answers {error.code} ({error.reason})")
        asked = error.headers.get("Retry-After", "")
        wait = min(float(asked), LONGEST_WAIT) if asked.isascii() and asked.isdecimal() else 0.0
        return _Dropped(f"the server is busy ({error.code})", wait)

    def _no_answer(self, error: Exception) -> Exception:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        # Names that cannot be looked up and certificates that do not hold stay so for a while.
        if isinstance(cause, socket.gaierror | ValueError | str) or "CERTIFICATE" in str(cause):
            return self._failed(_reason(cause))
        return _Dropped(_reason(cause))

    def _failed(self, reason: str) -> StageError:
        kept = "; what has arrived is kept" if self._have() else ""
        by_hand = f". Or {self.by_hand}" if self.by_hand else ""
        return StageError(
            f"the download failed: {reason}",
            where=self.url,
            hint=f"check the network and the proxy (https_proxy, no_proxy) and run again{kept}{by_hand}",
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Followed, but not from https to what anyone on the way can change."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https:",) if req.full_url.startswith("https:") else ("https:", "http:")
        if not newurl.lower().startswith(allowed):
            raise urllib.error.HTTPError(
                req.full_url, code, f"redirects to {newurl[:100]}, which is not safe", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _version(headers: Message, silent: str | None) -> str | None:
    """The name of a version, `silent` where there is none. A weak ETag may stand for other bytes."""
    tag = headers.get("ETag", "")
    version = tag if tag.startswith('"') else headers.get("Last-Modified")
    return version if version and version.isprintable() else silent


def _total(headers: Message) -> int | None:
    found = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _reason(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
