"""Run a program to its end or to a time limit, with all its output in a file.

The program gets a process group of its own. Whatever ends the wait, an error and Ctrl-C included,
no process of the group is left running.
"""

import os
import selectors
import shlex
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.process_group import end_group, ended_by, kill_group

TAIL_LINES = 60
LINE_CHARACTERS = 300
MAX_LOG = 64 << 20
"""Bytes of output that are kept; a program that says more is let on, unheard."""
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Finished:
    """How a program ended: `exit_code` as `subprocess` gives it (negative for a signal), or None
    where it was stopped at the time limit. `tail` has its last lines."""

    exit_code: int | None
    tail: tuple[str, ...]


class _Lines:
    """Splits a stream of bytes into lines; what ends with a carriage return is a status."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        pieces = (self._rest + chunk).replace(b"\r\n", b"\n").splitlines(keepends=True)
        self._rest = b""
        if pieces and not pieces[-1].endswith((b"\n", b"\r")):
            self._rest = pieces.pop()[-(1 << 16) :]
        for piece in pieces:
            self._take(piece)

    def close(self) -> None:
        self._take(self._rest)

    def _take(self, piece: bytes) -> None:
        text = piece.decode("utf-8", errors="replace")
        # What goes to a terminal later must not be able to command it.
        text = "".join(c if c.isprintable() else " " for c in text).strip()[:LINE_CHARACTERS]
        if text:
            self._on_line(text)
            if not piece.endswith(b"\r"):
                self.tail.append(text)


def run_logged(
    argv: Sequence[str],
    *,
    cwd: Path,
    timeout: float,
    log_path: Path,
    on_line: Callable[[str], None],
    stop: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run `argv` in `cwd` for at most `timeout` seconds, with no input.

    Its output and errors go to `log_path` as they come, after a line with the command; `on_line`
    hears every line without control characters. `stop` is called before the processes are ended
    early, for what they started elsewhere. Raises `StageError` if it cannot be started or logged.
    """
    try:
        with log_path.open("wb") as log:
            log.write(f"$ {shlex.join(argv)}\n".encode())
            log.flush()
            return _run(argv, cwd, timeout, log, _Lines(on_line), stop, environment)
    except OSError as error:
        raise StageError(
            f"the log cannot be written: {error.strerror}", where=str(log_path)
        ) from None


def _run(
    argv: Sequence[str],
    cwd: Path,
    timeout: float,
    log: BinaryIO,
    lines: _Lines,
    stop: Callable[[], None] | None,
    environment: Mapping[str, str] | None,
) -> Finished:
    try:
        process = subprocess.Popen(
            argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise StageError(f"{argv[0]} cannot be run: {error.strerror}") from None
    deadline = time.monotonic() + timeout
    ended = False
    try:
        ended = _listen(process, deadline, log, lines) and ended_by(process, deadline)
    finally:
        if not ended:
            if stop is not None:
                stop()
            end_group(process)
        assert process.stdout is not None, "it was asked for"
        process.stdout.close()
    lines.close()
    return Finished(process.returncode if ended else None, tuple(lines.tail))


def _listen(
    process: subprocess.Popen[bytes], deadline: float, log: BinaryIO, lines: _Lines
) -> bool:
    """Pass the output on until it ends; False if the time limit came first."""
    assert process.stdout is not None, "it was asked for"
    pipe = process.stdout.fileno()
    logged = 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(_LOOK_SECONDS):
                if process.poll() is None:
                    continue
                # It is gone, and something it left behind holds the pipe open.
                kill_group(process)
                return True
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                return True
            log.write(chunk[: max(0, MAX_LOG - logged)])
            log.flush()
            logged += len(chunk)
            lines.feed(chunk)
    return False
