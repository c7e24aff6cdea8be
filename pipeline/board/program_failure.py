"""Say in words why `synap_cli_ic` ended badly on the board."""

import re
import signal
from collections.abc import Sequence

from pipeline.board.board import Board
from pipeline.board.board_error import BoardError
from pipeline.board.ssh_failure import quoted

DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_STARTED = re.compile(r"^Input image: ", re.MULTILINE)


def no_program(board: Board, errors: Sequence[str] = ()) -> BoardError:
    return BoardError(
        f"{board} has no {board.command} that it can run{quoted(errors)}",
        hint="it is part of the SyNAP runtime in the board's image; name it by its absolute path "
        "as device.command where it is not on the PATH of a command run over ssh",
    )


def disk_full(board: Board, doing: str) -> BoardError:
    return BoardError(
        f"the disk of {board} is full, {doing}",
        hint=f"make room in {board.folder} on the board, or name a larger folder as device.folder",
    )


def explain_program(
    board: Board, code: int, out: str, errors: Sequence[str], images: int
) -> BoardError:
    """The error for a run of `images` images that ended with `code`, as a shell gives it."""
    if code in (126, 127):
        return no_program(board, errors)
    started = len(_STARTED.findall(out))
    at = f"at image {started} of {images}" if started else "before the first image"
    if any(DISK_FULL.search(line) for line in errors):
        return disk_full(board, f"said {board.command} {at}")
    if code > 128:
        ended = f"{board.command} was ended by {_signal_name(code - 128)} {at}{quoted(errors)}"
        if code - 128 == signal.SIGKILL:
            hint = "that is what happens when the board's memory runs out; smaller batches may do"
        else:
            hint = "a model that its runtime does not know ends it, too; run it there by hand"
        return BoardError(ended, where=str(board), hint=hint)
    if not started:
        return BoardError(
            f"{board.command} refuses the model, with exit code {code}{quoted(errors)}",
            where=str(board),
            hint="was the model compiled for this board, and by a toolkit not newer than the "
            "board's runtime? `--top 0` has to be known to it, too",
        )
    return BoardError(
        f"{board.command} stopped with exit code {code} {at}{quoted(errors)}",
        where=str(board),
        hint="what is finished is kept, so run the same command again; if it stops there again, "
        "run that image by hand",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"the signal {number}"
