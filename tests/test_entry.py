"""What the program's entry prints of an error."""

from typing import Any

import pytest

from pipeline.entry import _fail


def test_errors_do_nothing_to_a_terminal_and_keep_their_lines(capsys: Any) -> None:
    long = "/long" * 1_000
    with pytest.raises(SystemExit) as caught:
        _fail(f"a\x1b]0;x\x07.png: is broken\n  see {long}", 3, debug=False)
    assert caught.value.code == 3
    assert capsys.readouterr().err == f"error: a\\x1b]0;x\\x07.png: is broken\n  see {long}\n"
