"""How a program on the board ended, in words. Real endings are in `test_run.py`."""

import pytest

from pipeline.board.board import Board
from pipeline.board.program_failure import explain_program

BOARD = Board("board")
TWO = "Input image: a.png\nClassification time: 1 ms\nInput image: b.png\n"


@pytest.mark.parametrize(
    ("code", "out", "errors", "words"),
    [
        (127, "", ["sh: synap_cli_ic: not found"], "has no synap_cli_ic that it can run"),
        (127, "", ["error while loading shared libraries: libsynapnb.so"], "libsynapnb.so"),
        (126, "", ["Permission denied"], "device.command"),
        (1, "", ["unknown option '--top'"], "refuses the model, with exit code 1"),
        (1, TWO, ["inference failed"], "stopped with exit code 1 at image 2 of 4"),
        (1, TWO, ["write: No space left on device"], "disk of root@board is full"),
        (137, TWO, [], "ended by SIGKILL at image 2 of 4"),
        (137, TWO, [], "memory runs out"),
        (134, "", ["terminate called"], "ended by SIGABRT before the first image"),
        (255, "", [], "ended by the signal 127"),
    ],
)
def test_words(code: int, out: str, errors: list[str], words: str) -> None:
    error = explain_program(BOARD, code, out, errors, 4)
    assert words in str(error)
    assert error.hint
    if "disk" not in words:
        assert all(line in str(error) for line in errors)
