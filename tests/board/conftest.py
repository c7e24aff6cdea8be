"""A board on loopback: a real OpenSSH server, with a stand-in for `synap_cli_ic` on its PATH.

The server is Debian's `openssh-server`, run by whoever runs the tests with a host key, a
configuration and authorized keys of its own, on a free port of 127.0.0.1; the machine's own SSH
settings are neither read nor changed. Only a test as root needs `/run/sshd`, which it makes.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.board.board import Board

STAND_IN = Path(__file__).parent / "stand_in"
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server",
                "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server")  # fmt: skip
SIZE, CLASSES = 12, 7


def find_sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class Server:
    """The SSH server and the state of the board behind it."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    board: Board = field(init=False)

    def __post_init__(self) -> None:
        for name in ("bin", "tmp", "state"):
            (self.root / name).mkdir()
        for key in ("host_key", "key", "stranger_key"):
            make_key(self.root / key)
        shutil.copy(self.root / "key.pub", self.root / "authorized_keys")
        self.script("synap_cli_ic", "synap_cli_ic.py")
        self.trust(self.root / "host_key.pub")
        (self.root / "ssh_config").write_text(
            f'UserKnownHostsFile "{self.root}/known_hosts"\nGlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\nPubkeyAuthentication yes\n'
        )
        self.configure()
        self.board = Board(
            "127.0.0.1", port=self.port, user=login(), identity=self.root / "key",
            folder=str(self.root / "tmp"), config=self.root / "ssh_config",
            timeout=30.0, pause=0.05, attempts=4,
        )  # fmt: skip

    def script(self, name: str, program: str, *arguments: str) -> Path:
        """Put one of the stand-ins on the board's PATH."""
        words = [sys.executable, str(STAND_IN / program), str(self.root / "state"), *arguments]
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)
        return path

    def trust(self, host_key: Path) -> None:
        """Make this the key that the client knows the board by."""
        kind, key = host_key.read_text().split()[:2]
        (self.root / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def configure(self, sftp: str | None = "") -> None:
        """Write the server's configuration; `sftp` is its SFTP server, None for a board without."""
        found = sftp if sftp != "" else sftp_server()
        lines = [
            "ListenAddress 127.0.0.1", f"Port {self.port}", f"HostKey {self.root}/host_key",
            f"AuthorizedKeysFile {self.root}/authorized_keys", f"PidFile {self.root}/sshd.pid",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password", "UsePAM no", "StrictModes no",
            "PrintMotd no", "LogLevel VERBOSE", f"SetEnv PATH={self.root}/bin:/usr/bin:/bin HOME={self.root}",
            *([f"Subsystem sftp {found}"] if found else []),
        ]  # fmt: skip
        (self.root / "sshd_config").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = (self.root / "sshd.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [str(find_sshd()), "-D", "-e", "-f", str(self.root / "sshd_config")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        (self.root / "state" / "sshd").write_text(str(self.process.pid))
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"sshd does not run:\n{(self.root / 'sshd.log').read_text()}")

    def stop(self) -> None:
        """End the server with all its sessions."""
        if self.process is not None:
            for pid in [*sessions(self.process.pid), self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def order(self, *orders: str) -> None:
        """What the next calls of the stand-in do, one order for a call; then it behaves."""
        (self.root / "state" / "orders").write_text("\n".join(orders))

    @property
    def calls(self) -> list[list[str]]:
        """The images of every call of the stand-in so far."""
        path = self.root / "state" / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def left_behind(self) -> list[str]:
        """What runs left in the board's folder for temporary files."""
        return sorted(path.name for path in (self.root / "tmp").iterdir())

    def remembered_pids(self) -> list[int]:
        path = self.root / "state" / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


def sessions(listener: int) -> list[int]:
    """The server's processes for connections: children of the listener, and theirs named sshd."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, rest = path.read_text().split("(", 1)[1].rsplit(")", 1)
            if int(rest.split()[1]) == listener and name.startswith("sshd"):
                pid = int(path.parent.name)
                found += [*sessions(pid), pid]
    return found


def sftp_server() -> str | None:
    return next((path for path in SFTP_SERVERS if Path(path).exists()), None)


def login() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A board that can be reached."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the board on loopback needs Linux")
    if find_sshd() is None:
        pytest.skip("there is no sshd: install OpenSSH's server (apt-get install openssh-server)")
    (tmp_path / "board").mkdir()
    made = Server(tmp_path / "board", free_port())
    made.start()
    try:
        yield made
    finally:
        made.stop()


def make_bundle(path: Path, classes: int = CLASSES, size: int = SIZE) -> Path:
    """A `.synap` file with the documented entries, whose model is a seed."""
    inputs = {"input_0": {"name": "input", "shape": [1, size, size, 3], "format": "nhwc"}}
    outputs = {"output_0": {"name": "scores", "shape": [1, classes]}}
    graph = {"inputs": [{"subgraph": -1, "out": 0}], "model": "0/model.nb", "meta": "0/model.json"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "bundle.json",
            json.dumps({"graph": [graph], "outputs": [{"subgraph": 0, "out": 0}]}),
        )
        archive.writestr("0/model.nb", b"seed 5")
        archive.writestr("0/model.json", json.dumps({"Inputs": inputs, "Outputs": outputs}))
    return path


def make_crops(count: int, size: int = SIZE, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def expected_logits(crops: NDArray[np.uint8], classes: int = CLASSES) -> NDArray[np.float32]:
    """What the stand-in's model gives: sums of a picture's bytes under a fixed pattern."""
    flat = crops.reshape(len(crops), -1).astype(np.int64)
    pattern = np.arange(flat.shape[1])[:, None] * (np.arange(classes)[None, :] + 3) % 17 - 8
    return np.asarray(flat @ pattern / 64, np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "my model.synap")


@pytest.fixture(scope="session")
def desk() -> Any:
    """The functions of this file, because test files cannot import one another."""
    return SimpleNamespace(
        make_bundle=make_bundle, make_crops=make_crops, expected_logits=expected_logits,
        sftp_server=sftp_server, free_port=free_port, SIZE=SIZE, CLASSES=CLASSES,
    )  # fmt: skip
