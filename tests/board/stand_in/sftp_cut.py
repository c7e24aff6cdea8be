"""A TEST DOUBLE of a bad line: the real SFTP server, whose connection is cut under a transfer.

Arguments: the folder of the state, in which `cuts` says how many connections are still to be cut,
and the real server. As many bytes as `CUT` reach that server, and then the session is killed.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from session import session

CUT = 400

state, server = Path(sys.argv[1]), sys.argv[2]
left = int((state / "cuts").read_text())
if not left:
    os.execv(server, [server])
(state / "cuts").write_text(str(left - 1))
process = subprocess.Popen([server], stdin=subprocess.PIPE)
assert process.stdin is not None
passed = 0
while passed < CUT:
    chunk = os.read(0, CUT - passed)
    process.stdin.write(chunk)
    process.stdin.flush()
    passed += len(chunk)
os.kill(session(state), signal.SIGKILL)
