"""Run one program to its end, a time limit or a limit of its output."""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.board.board_error import BoardError
from pipeline.process_group import end_group, ended_by, kill_group

MAX_OUTPUT = 256 << 20
"""Bytes of output: a hundred times what a batch of a thousand classes gives."""
_MAX_ERRORS = 1 << 16
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Answer:
    """How a program ended. `code` is as `subprocess` gives it, None where it was stopped at the
    time limit or at the limit of its output (`flooded`)."""

    code: int | None
    out: bytes
    errors: tuple[str, ...]
    """Lines of its standard error, without control characters."""
    flooded: bool = False


def call(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    stdin: BinaryIO | None = None,
    max_output: int = MAX_OUTPUT,
) -> Answer:
    """Run `argv` for at most `timeout` seconds; with `stdin`, or with an input that stays open and
    empty until the program has ended.

    The program gets a process group of its own, of which nothing is left running whatever ends
    the wait, Ctrl-C included. Raises BoardError if it cannot be started.
    """
    try:
        process = subprocess.Popen(
            argv, cwd=cwd, env=os.environ | {"LC_ALL": "C"}, start_new_session=True,
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise BoardError(f"{argv[0]} cannot be run: {error.strerror}") from None
    heard = _Heard(max_output)
    ended = False
    try:
        deadline = time.monotonic() + timeout
        ended = heard.listen(process, deadline) and ended_by(process, deadline)
    finally:
        if not ended:
            end_group(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
    code = process.returncode if ended else None
    return Answer(code, bytes(heard.out), heard.error_lines(), heard.flooded)


class _Heard:
    """What a program said so far."""

    def __init__(self, max_output: int) -> None:
        self.out = bytearray()
        self.errors = bytearray()
        self.flooded = False
        self._max_output = max_output

    def listen(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Take in all output until it ends; False if a limit came first."""
        assert process.stdout is not None and process.stderr is not None, "they were asked for"
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, self.out)
            selector.register(process.stderr, selectors.EVENT_READ, self.errors)
            while selector.get_map():
                if time.monotonic() >= deadline:
                    return False
                ready = selector.select(_LOOK_SECONDS)
                if not ready and process.poll() is not None:
                    # It is gone, and something it left behind holds the pipes open.
                    kill_group(process)
                    return True
                for key, _ in ready:
                    chunk = os.read(key.fd, 1 << 16)
                    key.data.extend(chunk)
                    if not chunk:
                        selector.unregister(key.fileobj)
                del self.errors[:-_MAX_ERRORS]
                if len(self.out) > self._max_output:
                    self.flooded = True
                    return False
        return True

    def error_lines(self) -> tuple[str, ...]:
        # What goes to a terminal later must not be able to command it.
        lines = self.errors.decode("utf-8", errors="replace").splitlines()
        shown = ("".join(c if c.isprintable() else " " for c in line).strip() for line in lines)
        return tuple(line[:300] for line in shown if line)
