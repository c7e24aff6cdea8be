"""Which board, how it is reached, and the command lines that reach it.

Every word that goes to `ssh` or to the board's shell is checked here, once: a host, user or folder
out of a recipe can be no option and can start no other program.
"""

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.board.board_error import BoardError
from pipeline.errors import UsageError

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
                   r"(%[A-Za-z0-9._-]+)?")  # fmt: skip
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_FOLDER = re.compile(r"(/[A-Za-z0-9_+][A-Za-z0-9._+-]*)+")
_COMMAND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")

_OPTIONS = {
    # No questions: nobody is there to answer.
    "BatchMode": "yes",
    # A line that is gone is noticed within a quarter of a minute, not after TCP's two hours.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    # What a user's configuration may ask for and would be in the way. A shared connection
    # would hide when the line breaks and hold the output open.
    "ControlMaster": "no",
    "ControlPath": "none",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    # Whatever the configuration says: at a quieter level ssh does not say that a line timed out.
    "LogLevel": "INFO",
}


@dataclass(frozen=True)
class Board:
    """A board that the system's OpenSSH client reaches. Times are in seconds.

    Raises UsageError for words that cannot be what they are given for.
    """

    host: str
    """Name, alias of the ssh configuration, or address (IPv6 without brackets)."""
    port: int = 22
    user: str = "root"
    identity: Path | None = None
    """Private key. None leaves the choice to ssh: its agent, configuration and usual files."""
    command: str = "synap_cli_ic"
    """Name on the board's PATH, or absolute path."""
    folder: str = "/tmp"
    """Folder on the board in which a run makes its own; needs room for the model and one batch."""
    config: Path | None = None
    """ssh's configuration file in place of the user's own (`ssh -F`)."""
    connect_timeout: int = 10
    timeout: float = 600.0
    """Limit of every single command: a copy, or one batch of images."""
    attempts: int = 6
    """How often in succession a connection may break before the run gives up."""
    pause: float = 2.0
    """Wait after the first break; each further one in succession doubles it, up to a minute."""

    def __post_init__(self) -> None:
        _require(_HOST, self.host, "host", "a name or an address")
        _require(_USER, self.user, "user", "a user's name")
        _require(_FOLDER, self.folder, "folder", "an absolute path of letters, digits, . _ + -")
        if not _FOLDER.fullmatch(self.command):
            _require(_COMMAND, self.command, "command", "a program's name or absolute path")
        if not 1 <= self.port <= 65535:
            raise UsageError(f"{self.port} is not a port", where="device.port", hint="1 to 65535")
        for name in ("connect_timeout", "timeout", "attempts"):
            if getattr(self, name) <= 0:
                raise UsageError("has to be more than 0", where=f"device.{name}")
        if self.pause < 0:
            raise UsageError("cannot be negative", where="device.pause")
        if self.identity is not None and set(str(self.identity)) & set('"\\\n'):
            raise UsageError(
                f"ssh cannot take a key called {str(self.identity)!r}", where="device.identity"
            )

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")

    def ssh(self, script: str) -> list[str]:
        """The command line that runs a script in the board's POSIX shell, whatever shell its
        user logs in with. Raises BoardError without an ssh client."""
        return [_program("ssh"), *self._options(), "--", self.host, f"sh -c {shlex.quote(script)}"]

    def scp(self, names: list[str], destination: str, legacy: bool) -> list[str]:
        """The command line that copies files of the working directory to a path on the board.

        `legacy` uses scp's protocol of old, for a board without an SFTP server.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        files = [f"./{name}" for name in names]  # no option, and no host either
        options = [*(["-O"] if legacy else []), *self._options()]
        return [_program("scp"), *options, "--", *files, f"{host}:{destination}"]

    def by_hand(self) -> str:
        """What a user types to try the connection."""
        words = ["ssh"]
        if self.config is not None:
            words += ["-F", str(self.config)]
        if self.identity is not None:
            words += ["-i", str(self.identity)]
        if self.port != 22:
            words += ["-p", str(self.port)]
        return shlex.join([*words, f"{self.user}@{self.host}"])

    def _options(self) -> list[str]:
        options = {
            **_OPTIONS,
            "ConnectTimeout": str(self.connect_timeout),
            "Port": str(self.port),
            "User": self.user,
        }
        if self.identity is not None:
            # ssh expands % and splits at spaces outside of quotes.
            path = str(self.identity.expanduser().absolute()).replace("%", "%%")
            options |= {"IdentityFile": f'"{path}"', "IdentitiesOnly": "yes"}
        config = [] if self.config is None else ["-F", str(self.config.expanduser().absolute())]
        return [*config, *(part for item in options.items() for part in ("-o", "=".join(item)))]


def _require(pattern: re.Pattern[str], word: str, field: str, wanted: str) -> None:
    if not pattern.fullmatch(word):
        raise UsageError(f"{word!r} is not {wanted}", where=f"device.{field}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BoardError(
            f"there is no {name} on this machine",
            hint="install OpenSSH's client (Debian and Ubuntu: apt-get install openssh-client)",
        )
    return found
