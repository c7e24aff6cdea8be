"""The program's entry: the only place where errors are printed, and the only exit."""

import io
import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import typer

from pipeline.cli import app
from pipeline.errors import PipelineError

INTERRUPTED = 130


class _Interrupts:
    """Remembers Ctrl-C, because libraries in C may turn its KeyboardInterrupt into an error of
    their own, which would then be shown as if the run had failed."""

    def __init__(self) -> None:
        self.seen = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> NoReturn:
        self.seen = True
        raise KeyboardInterrupt


def main() -> NoReturn:
    """Run the command line; every error becomes a few lines and an exit code."""
    debug = "--debug" in sys.argv[1:]
    if debug:  # wherever it stands
        sys.argv = [word for word in sys.argv if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of ASCII is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    interrupts = _Interrupts()
    try:
        app(standalone_mode=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        # typer itself makes a silent exit of Ctrl-C.
        if interrupts.seen and not (isinstance(error, SystemExit) and error.code == 0):
            _leave_interrupted(debug)
        if isinstance(error, SystemExit):
            raise
        if isinstance(error, PipelineError):
            _fail(str(error), error.exit_code, debug)
        hint = "run again with --debug for the traceback"
        _fail(f"unexpected {type(error).__name__}: {error}\n  {hint}", 3, debug)
    sys.exit(0)


def _leave_interrupted(debug: bool) -> NoReturn:
    """Leave at once: an orderly end would wait for threads that still decode images, and Python
    ends by the signal, not by a code, where a library in C has seen the KeyboardInterrupt pass."""
    if debug:
        traceback.print_exc()
    typer.echo(
        "error: interrupted; finished stages are kept, and the same command makes the rest",
        err=True,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def _fail(text: str, code: int, debug: bool) -> NoReturn:
    """Say what happened, behind its traceback if that is wanted, and leave."""
    from pipeline.inspect.printable import printable_lines  # takes longer than --help may

    if debug:
        traceback.print_exc()
    # It may name files, and their names may hold escape sequences.
    typer.echo(f"error: {printable_lines(text, len(text))}", err=True)
    sys.exit(code)
