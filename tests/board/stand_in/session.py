"""Find the SSH server's process that a stand-in hangs on, to cut its connection."""

import os
from pathlib import Path


def session(state: Path) -> int:
    """Process id of the nearest sshd above this process that is not the listening one."""
    listener, pid = int((state / "sshd").read_text()), os.getppid()
    while True:
        name, rest = Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
        if name.startswith("sshd") and pid != listener:
            return pid
        pid = int(rest.split()[1])
