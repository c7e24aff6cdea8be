"""A run's stay on a board: a folder of its own, the model in it, and batches of images.

The folder is a fresh one of `mktemp -d` below `Board.folder`. Only what this run made is removed,
by the name that `mktemp` gave; nothing on the board is looked for by a pattern.
"""

import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.board.board import Board
from pipeline.board.board_error import BoardError, LineBroken, OutputError
from pipeline.board.call import Answer, call
from pipeline.board.program_failure import DISK_FULL, disk_full, explain_program, no_program
from pipeline.board.ssh_failure import explain_ssh, quoted
from pipeline.errors import PipelineError

MODEL = "model.synap"
_IMAGES = "images"
_CLEANUP_SECONDS = 30.0
_NO_PROGRAM, _NO_FOLDER = 90, 91
_SCP_ENDED = re.compile(r"(Connection closed|lost connection)$", re.MULTILINE)
# What ssh says when it is the line that ended, not the program at its other end.
_LINE_ENDED = re.compile(
    r"^(Connection |Timeout, server |client_loop|packet_write|ssh: |Read from |ssh_|kex_|"
    r"Host key |\S+@\S+: Permission denied )",
    re.MULTILINE,
)


@dataclass(frozen=True)
class _Said:
    """How a script ended on the board, what it printed, and what it complained about."""

    code: int
    out: str
    errors: tuple[str, ...]


class Visit:
    """Opened at the first batch; after LineBroken it has to be opened anew, in a new folder."""

    def __init__(self, board: Board, model: Path, say: Callable[[str], None]) -> None:
        self._board = board
        self._model = model
        self._say = say
        self._folder: str | None = None
        self._made: list[str] = []
        self._legacy = False
        self.reached = False
        """Whether the board ever answered."""

    @property
    def is_open(self) -> bool:
        return self._folder is not None

    def open(self) -> None:
        """Make a folder and copy the model into it; folders that a broken line left are removed.

        Raises LineBroken, or BoardError for what will not get better by itself.
        """
        template = shlex.quote(f"{self._board.folder}/synap-board.XXXXXXXX")
        said = self._shell(
            f"{_removal(self._made)}"
            f"command -v {self._board.command} >/dev/null || exit {_NO_PROGRAM}; umask 077; "
            f'd=$(mktemp -d {template}) && printf %s "$d" && mkdir "$d/{_IMAGES}"'
        )
        self._made.clear()
        if said.code == _NO_PROGRAM:
            raise no_program(self._board)
        prefix = re.escape(f"{self._board.folder}/synap-board.")
        if re.fullmatch(rf"{prefix}[A-Za-z0-9]+", said.out):
            self._made.append(said.out)
        if said.code != 0 or not self._made:
            raise self._no_folder(said)
        self._folder = said.out
        # Under a plain name of its own, whatever the file is called here.
        self._copy(self._model.parent, [self._model.name], f"{said.out}/{MODEL}")

    def run(self, folder: Path, names: Sequence[str]) -> str:
        """Copy these files of a local folder, have them classified, and remove them.

        What `synap_cli_ic` printed. Raises LineBroken or BoardError, as `open`.
        """
        assert self._folder is not None, "opened before"
        self._copy(folder, list(names), f"{self._folder}/{_IMAGES}/")
        words = [self._board.command, "--top", "0", "-m", f"../{MODEL}", *names]
        images = f"{self._folder}/{_IMAGES}"
        # ssh's input stays open as long as the line does. When it ends, the program is ended:
        # none stays on the board with nobody to read it, hung or not.
        said = self._shell(
            f"cd {images} || exit {_NO_FOLDER}; exec 3<&0; "
            f"{shlex.join(words)} </dev/null 3<&- & p=$!; "
            "( read x <&3; kill $p; sleep 1; kill -9 $p ) >/dev/null 2>&1 & w=$!; "
            "wait $p; c=$?; kill $w 2>/dev/null; wait $w 2>/dev/null; "
            f"cd /; rm -rf {images}; mkdir {images}; exit $c",
            doing=f"{self._board.command} over {len(names)} images",
        )
        if said.code == _NO_FOLDER:
            raise self._gone()
        if said.code != 0:
            raise explain_program(self._board, said.code, said.out, said.errors, len(names))
        return said.out

    def lose(self) -> None:
        """The line broke: what is in the folder is not to be relied on."""
        self._folder = None

    def close(self) -> None:
        """Remove from the board what this run made there; say so where that is not possible."""
        self._folder = None
        if not self._made:
            return
        try:
            # Once more where a program that is just being ended was still in it.
            again = f"{_removal(self._made)}[ $? = 0 ] || {{ sleep 2; {_removal(self._made)}}}"
            if self._shell(again, limit=_CLEANUP_SECONDS).code == 0:
                self._made.clear()
                return
            why = "it refused"
        except PipelineError as error:
            why = error.what.splitlines()[0]
        self._say(
            f"{' and '.join(self._made)} on {self._board} could not be removed ({why}); "
            "remove it by hand"
        )

    def _copy(self, folder: Path, names: list[str], destination: str) -> None:
        """Copy files of a local folder; a `destination` for several ends with a slash."""
        answer = self._scp(folder, names, destination, self._legacy)
        if _is_without_reason(answer) and not self._legacy:
            # A board without an SFTP server ends the connection just like this.
            second = self._scp(folder, names, destination, legacy=True)
            if second.code == 0 or any(line.startswith("scp: ") for line in second.errors):
                self._legacy, answer = True, second
                self._say(f"{self._board} has no SFTP server; files are copied as scp did of old")
        if answer.code == 0:
            return
        if answer.code is None:
            raise self._too_long(f"copying {len(names)} files", self._board.timeout)
        if _is_broken(answer):
            raise explain_ssh(self._board, answer.errors)
        text = "\n".join(answer.errors)
        name = next((name for name in names if f"/{name}" in text), names[0])
        raise self._not_written(folder / name, destination, answer.errors)

    def _scp(self, folder: Path, names: list[str], destination: str, legacy: bool) -> Answer:
        return call(
            self._board.scp(names, destination, legacy), timeout=self._board.timeout, cwd=folder
        )

    def _not_written(self, file: Path, destination: str, errors: Sequence[str]) -> BoardError:
        """SFTP says no more than "Failure": have the board's shell write the file and say why."""
        if not any(DISK_FULL.search(line) for line in errors):
            remote = f"{destination}{file.name}" if destination.endswith("/") else destination
            try:
                stream = file.open("rb")
            except OSError as error:
                return BoardError(f"cannot be read: {error.strerror}", where=str(file))
            with stream:
                said = self._shell(
                    f"cd {self._folder} || exit {_NO_FOLDER}; cat > {remote}", stdin=stream
                )
            if said.code == _NO_FOLDER:
                raise self._gone()
            errors = [*errors, *said.errors]
        if any(DISK_FULL.search(line) for line in errors):
            return disk_full(self._board, f"copying {file.name} ({file.stat().st_size >> 10} KiB)")
        return BoardError(
            f"{file.name} cannot be written on {self._board}{quoted(errors)}",
            hint=f"can {self._board.user} write in {self._board.folder} there? another folder can "
            "be named as device.folder",
        )

    def _shell(
        self,
        script: str,
        *,
        doing: str = "a command on the board",
        limit: float | None = None,
        stdin: BinaryIO | None = None,
    ) -> _Said:
        """Run a script on the board.

        Its output stands between two marks of its own, because a login shell may print before it
        and because only the second mark tells the script's end from the connection's.
        """
        mark = secrets.token_hex(12)
        script = f"echo {mark}; ({script}); printf '\\n%s %s\\n' {mark} $?"
        timeout = self._board.timeout if limit is None else limit
        answer = call(self._board.ssh(script), timeout=timeout, stdin=stdin)
        if answer.flooded:
            raise OutputError(f"the output of {self._board.command} does not end")
        text = answer.out.decode("utf-8", errors="replace")
        found = re.search(rf"^{mark}\n(.*)\n{mark} (\d+)\n", text, re.DOTALL | re.MULTILINE)
        if found:
            self.reached = True
            return _Said(int(found[2]), found[1], answer.errors)
        if answer.code is None:
            raise self._too_long(doing, timeout)
        if answer.code == 255:
            raise explain_ssh(self._board, answer.errors)
        raise BoardError(
            f"{self._board} does not run commands (exit code {answer.code}){quoted(answer.errors)}",
            hint=f"`{self._board.by_hand()} echo hello` has to work first",
        )

    def _gone(self) -> LineBroken:
        return LineBroken(f"the folder of this run on {self._board} is gone: did it restart?")

    def _no_folder(self, said: _Said) -> BoardError:
        if any(DISK_FULL.search(line) for line in said.errors):
            return disk_full(self._board, "making a folder")
        return BoardError(
            f"no folder can be made in {self._board.folder} on {self._board}{quoted(said.errors)}",
            hint="name one that can be written to as device.folder",
        )

    def _too_long(self, what: str, timeout: float) -> BoardError:
        return BoardError(
            f"{what} did not end within {timeout:g} s and was stopped",
            where=str(self._board),
            hint="raise device.timeout if that is how long it takes; what is finished is kept, "
            "so run the same command again",
        )


def _is_broken(answer: Answer) -> bool:
    """Whether scp ended because its connection did. Its exit code does not tell."""
    return bool(_SCP_ENDED.search("\n".join(answer.errors)))


def _is_without_reason(answer: Answer) -> bool:
    """Whether the connection ended as it does where the board has no SFTP server: the line was
    good, and nobody spoke at its other end."""
    return _is_broken(answer) and not _LINE_ENDED.search("\n".join(answer.errors))


def _removal(folders: Sequence[str]) -> str:
    return f"rm -rf -- {shlex.join(folders)}; " if folders else ""
