"""Say in words why `ssh` or `scp` did not get through.

The messages are those of OpenSSH's own client, which speaks English whatever the locale.
"""

import re
from collections.abc import Callable, Sequence

from pipeline.board.board import Board
from pipeline.board.board_error import BoardError, LineBroken

_SHOWN_LINES = 4


def explain_ssh(board: Board, errors: Sequence[str]) -> BoardError:
    """The error for a connection that broke (LineBroken) or is refused for good (BoardError)."""
    text = "\n".join(errors)
    for pattern, make in _KNOWN:
        if re.search(pattern, text, re.MULTILINE):
            return make(board, errors)
    return LineBroken(
        f"the connection to {board} broke{quoted(errors)}",
        hint=f"try `{board.by_hand()}`; what is finished is kept, so run the same command again",
    )


def quoted(errors: Sequence[str]) -> str:
    """The last lines that were said, to stand behind a sentence; empty if nothing was."""
    return "".join(f"\n    {line}" for line in errors[-_SHOWN_LINES:])


def _changed(board: Board, errors: Sequence[str]) -> BoardError:
    removal = next((line for line in errors if line.startswith("ssh-keygen ")), "ssh-keygen -R")
    return BoardError(
        f"{board} shows another host key than the one that is known for it",
        hint=f"if the board was set up anew, forget the old key (`{removal}`) and connect once by "
        f"hand (`{board.by_hand()}`); if it was not, this may be another machine",
    )


def _unknown(board: Board, errors: Sequence[str]) -> BoardError:
    return BoardError(
        f"the host key of {board} is not known here",
        hint=f"connect once by hand, compare the fingerprint and accept it: `{board.by_hand()}`",
    )


def _refused(board: Board, errors: Sequence[str]) -> BoardError:
    key = f"the key {board.identity}" if board.identity else "every key that ssh has to offer"
    return BoardError(
        f"{board} refuses {key}{quoted(errors)}",
        hint="passwords are not asked for: put a public key on the board (`ssh-copy-id`) and name "
        "its private key as device.identity, or load it into ssh-agent",
    )


def _no_common(board: Board, errors: Sequence[str]) -> BoardError:
    return BoardError(
        f"ssh and {board} have no common algorithm{quoted(errors)}",
        hint="allow an older one for this board in ~/.ssh/config, as the message names it",
    )


def _configuration(board: Board, errors: Sequence[str]) -> BoardError:
    return BoardError(
        f"ssh does not accept its configuration{quoted(errors)}",
        hint=f"`{board.by_hand()}` has to work first",
    )


def _no_name(board: Board, errors: Sequence[str]) -> BoardError:
    return LineBroken(
        f"the name {board.host} leads nowhere{quoted(errors)}",
        hint="check device.host, or give the board's address",
    )


def _nobody(board: Board, errors: Sequence[str]) -> BoardError:
    return LineBroken(
        f"{board} answers, but nothing listens on port {board.port}{quoted(errors)}",
        hint="start the SSH server on the board, or check device.port",
    )


def _unreachable(board: Board, errors: Sequence[str]) -> BoardError:
    return LineBroken(
        f"{board} cannot be reached{quoted(errors)}",
        hint="check that the board is on, its cable and device.host",
    )


_KNOWN: tuple[tuple[str, Callable[[Board, Sequence[str]], BoardError]], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", _changed),
    (r"^Host key verification failed", _unknown),
    (r"^\S+@\S+: Permission denied \(|Too many authentication failures", _refused),
    (r"^Unable to negotiate with ", _no_common),
    (r"Bad configuration option|^Bad owner or permissions on |^Can't open user config", _configuration),
    (r"^ssh: Could not resolve hostname", _no_name),
    (r"^ssh: connect to host .*: Connection refused", _nobody),
    (r"^ssh: connect to host ", _unreachable),
)  # fmt: skip
