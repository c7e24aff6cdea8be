"""Say in words why a run of the toolkit failed.

The converter ends with 1 and `Error: ...` for what it knows, with 1 and a traceback for what it
does not, and with 2 for a command line it does not understand; a container engine adds 125 to 127
for its own failures, and 128 plus the number where a signal ended the program inside.
"""

import re
import signal

from pipeline.synap.logged_process import Finished

_ERROR = re.compile(r"(?:^|\s)Error: (.+)")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)(:.*)?$")
_ENGINE_CODES = {
    125: "the container engine could not start it",
    126: "the image's command cannot be run",
    127: "the image has no such command: not the SyNAP toolkit?",
}


def explain(finished: Finished, timeout: float, in_container: bool) -> str:
    """One sentence for how it ended, beginning with a verb."""
    code = finished.exit_code
    if code is None:
        return f"did not finish within {timeout:g} s and was stopped"
    text = "\n".join(finished.tail)
    if "no space left on device" in text.lower():
        return f"ended with exit code {code}: the disk is full"
    killed = _signal_name(code, in_container)
    if killed == "SIGKILL":
        return "was killed (SIGKILL), which is what happens when memory runs out"
    if killed:
        return f"was ended by the signal {killed}"
    if in_container and code in _ENGINE_CODES:
        return f"ended with exit code {code}: {_ENGINE_CODES[code]}"
    if code == 2:
        return "ended with exit code 2: it does not know this command line; another version?"
    if any(line.startswith("Traceback (most recent call last)") for line in finished.tail):
        crash = [line for line in finished.tail if _EXCEPTION.match(line)]
        return f"crashed with exit code {code}: {crash[-1] if crash else 'a traceback'}"
    said = _ERROR.search(text)
    if said:
        return f"ended with exit code {code}: {said[1]}"
    return f"ended with exit code {code}"


def _signal_name(code: int, in_container: bool) -> str:
    number = -code if code < 0 else code - 128 if in_container and code > 128 else 0
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"number {number}" if number else ""
