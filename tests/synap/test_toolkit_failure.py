"""Words for every way the toolkit ends."""

import re

import pytest

from pipeline.synap.logged_process import Finished
from pipeline.synap.toolkit_failure import explain

TRACEBACK = ("Traceback (most recent call last):", '  File "a.py", line 1', "KeyError: 'conv1'")


@pytest.mark.parametrize(
    ("code", "tail", "in_container", "said"),
    [
        (None, (), False, "did not finish within 60 s and was stopped"),
        (1, ("Error: model not found: m",), False, "exit code 1: model not found: m"),
        (1, ("Converting...Error: no",), False, "ended with exit code 1"),
        (1, (*TRACEBACK, "Temporary files available at : x"), False, "crashed.*KeyError: 'conv1'"),
        (1, (*TRACEBACK[:2], "acuity.Oops"), False, "crashed with exit code 1: a traceback"),
        (1, ("no space", "OSError: [Errno 28] No space left on device"), False, "the disk is full"),
        (2, ("usage: synap_convert",), False, "does not know this command line"),
        (-9, (), False, "was killed .SIGKILL., which is what happens when memory runs out"),
        (137, (), True, "was killed .SIGKILL."),
        (137, (), False, "ended with exit code 137"),
        (-11, (), False, "ended by the signal SIGSEGV"),
        (139, (), True, "ended by the signal SIGSEGV"),
        (250, (), True, "the signal number 122"),
        (125, (), True, "the container engine could not start it"),
        (127, (), True, "no such command"),
        (127, (), False, "ended with exit code 127"),
        (5, (), False, "ended with exit code 5"),
    ],
)
def test_explain(code: int | None, tail: tuple[str, ...], in_container: bool, said: str) -> None:
    sentence = explain(Finished(code, tail), 60, in_container)
    assert re.search(said, sentence), sentence
