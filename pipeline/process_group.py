"""A program in a process group of its own (`start_new_session=True`): wait for it, and end all of it.

What it started belongs to the group, too, so that nothing is left running whatever ends the wait.
"""

import contextlib
import os
import signal
import subprocess
import time

GRACE_SECONDS = 2.0
"""Between the request to end and the order."""


def ended_by(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the program; False if the deadline (of `time.monotonic`) came first."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, and make it where it does not."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    kill_group(process)
    process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group at once, where the program itself is gone."""
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # of the session it leads
