"""OpenSSH's messages that a server on loopback cannot bring about; the others are real ones."""

import pytest

from pipeline.board.board import Board
from pipeline.board.board_error import LineBroken
from pipeline.board.ssh_failure import explain_ssh

BOARD = Board("10.0.0.7", port=2222)


@pytest.mark.parametrize(
    ("line", "words", "may_get_better"),
    [
        ("ssh: connect to host 10.0.0.7 port 2222: No route to host", "cannot be reached", True),
        ("ssh: connect to host 10.0.0.7 port 2222: Connection timed out", "its cable", True),
        ("ssh: connect to host 10.0.0.7 port 2222: Connection refused", "port 2222", True),
        ("kex_exchange_identification: Connection closed by remote host", "broke", True),
        ("client_loop: send disconnect: Broken pipe", "broke", True),
        ("Received disconnect from 10.0.0.7: 2: Too many authentication failures", "refuses", False),
        ("Unable to negotiate with 10.0.0.7 port 2222: no matching host key type found. "
         "Their offer: ssh-rsa", "no common algorithm", False),
        # What a program complains about is not what ssh says.
        ("/dev/synap: Permission denied", "broke", True),
    ],
)  # fmt: skip
def test_words(line: str, words: str, may_get_better: bool) -> None:
    error = explain_ssh(BOARD, ["banner", line])
    assert words in str(error)
    assert line in str(error)
    assert isinstance(error, LineBroken) is may_get_better
    assert error.hint


def test_nothing_was_said() -> None:
    assert "the connection to root@10.0.0.7:2222 broke" in str(explain_ssh(BOARD, []))
    assert "ssh -p 2222 root@10.0.0.7" in str(explain_ssh(BOARD, []))
