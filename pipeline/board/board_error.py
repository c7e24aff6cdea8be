"""What can go wrong with a board. All of it is said in words, with what to do next."""

from pipeline.errors import StageError


class BoardError(StageError):
    """The board, or the way to it, did not do what was asked."""


class LineBroken(BoardError):
    """The connection broke or did not come about: the same command may succeed later."""


class OutputError(BoardError):
    """The output of `synap_cli_ic` is not the documented one."""

    def __init__(self, what: str) -> None:
        super().__init__(
            what,
            hint="does the program on the board print as SyNAP's synap_cli_ic does? run the first "
            "image by hand there",
        )
