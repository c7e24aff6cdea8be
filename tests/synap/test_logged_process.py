"""Real processes: how they end, what is logged, and that none is left."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.synap.logged_process import LINE_CHARACTERS, TAIL_LINES, Finished, run_logged


def run(
    folder: Path, code: str, *, timeout: float = 30.0, heard: list[str] | None = None
) -> Finished:
    lines = [] if heard is None else heard
    return run_logged(
        [sys.executable, "-c", code],
        cwd=folder,
        timeout=timeout,
        log_path=folder / "log.txt",
        on_line=lines.append,
    )


def is_gone(pid: int) -> bool:
    """Whether a process ended within a while; a zombie that nobody reaps has ended, too."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_output_and_errors_are_heard_and_logged(tmp_path: Path) -> None:
    heard: list[str] = []
    code = "import sys; print('one'); sys.stdout.flush(); sys.stderr.write('two'); sys.exit(3)"
    finished = run(tmp_path, code, heard=heard)
    assert finished == Finished(3, ("one", "two"))
    assert heard == ["one", "two"]
    log = (tmp_path / "log.txt").read_text()
    assert log.startswith(f"$ {sys.executable} -c ")
    assert log.endswith("one\ntwo")


def test_a_status_is_heard_but_no_last_line(tmp_path: Path) -> None:
    heard: list[str] = []
    code = r"import sys; sys.stdout.write('10%\r20%\r\nend\r\n')"
    assert run(tmp_path, code, heard=heard).tail == ("20%", "end")
    assert heard == ["10%", "20%", "end"]


def test_lines_cannot_command_a_terminal_and_are_not_endless(tmp_path: Path) -> None:
    finished = run(tmp_path, r"print('\x1b[31mred\x07'); print('x' * 200_000); print(b'\xff')")
    assert finished.tail[0] == "[31mred"
    assert all(len(line) <= LINE_CHARACTERS for line in finished.tail)


def test_the_last_lines_are_kept(tmp_path: Path) -> None:
    finished = run(tmp_path, "print('\\n'.join(map(str, range(1000))))")
    assert finished.tail == tuple(str(n) for n in range(1000 - TAIL_LINES, 1000))


def test_there_is_no_input(tmp_path: Path) -> None:
    assert run(tmp_path, "import sys; print(repr(sys.stdin.read()))").tail == ("''",)


def test_a_signal(tmp_path: Path) -> None:
    finished = run(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert finished.exit_code == -signal.SIGKILL


def test_the_time_limit_ends_the_whole_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.process_group.GRACE_SECONDS", 0.2)
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    finished = run(tmp_path, code, timeout=1.0)
    assert finished.exit_code is None
    pids = [int(word) for word in finished.tail[0].split()]
    assert len(pids) == 2
    assert all(is_gone(pid) for pid in pids)


def test_a_child_that_holds_the_output_open_does_not_hold_us(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)\n"
    )
    finished = run(tmp_path, code)
    assert finished.exit_code == 0
    assert is_gone(int(finished.tail[0]))


def test_a_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    code = "import os, sys, time; os.close(1); os.close(2); time.sleep(0.5); os._exit(7)"
    assert run(tmp_path, code).exit_code == 7
    code = "import os, time; os.close(1); os.close(2); time.sleep(600)"
    assert run(tmp_path, code, timeout=1.0).exit_code is None


def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_logged(
            [
                sys.executable,
                "-c",
                "import os, time; print(os.getpid(), flush=True); time.sleep(600)",
            ],
            cwd=tmp_path,
            timeout=60,
            log_path=tmp_path / "log.txt",
            on_line=interrupt,
        )
    assert is_gone(pids[0])


def test_stop_is_called_only_when_it_is_ended_early(tmp_path: Path) -> None:
    calls: list[int] = []
    for seconds, timeout in ((0, 30.0), (600, 0.5)):
        run_logged(
            [sys.executable, "-c", f"import time; time.sleep({seconds})"],
            cwd=tmp_path,
            timeout=timeout,
            log_path=tmp_path / "log.txt",
            on_line=lambda line: None,
            stop=lambda seconds=seconds: calls.append(seconds),  # type: ignore[misc]
        )
    assert calls == [600]


def test_what_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "no program").write_text("")
    for name in ("none", "no program"):
        with pytest.raises(StageError, match=f"{name} cannot be run"):
            run_logged(
                [str(tmp_path / name)],
                cwd=tmp_path,
                timeout=1,
                log_path=tmp_path / "log.txt",
                on_line=lambda line: None,
            )


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the log cannot be written") as caught:
        run_logged(
            [sys.executable, "-c", "pass"],
            cwd=tmp_path,
            timeout=1,
            log_path=tmp_path / "none" / "log.txt",
            on_line=lambda line: None,
        )
    assert caught.value.where == str(tmp_path / "none" / "log.txt")


def test_a_full_disk_under_the_log(tmp_path: Path) -> None:
    """/dev/full takes no byte, as a full disk does."""
    with pytest.raises(StageError, match="No space left on device"):
        run_logged(
            [sys.executable, "-c", "print(1)"],
            cwd=tmp_path,
            timeout=30,
            log_path=Path("/dev/full"),
            on_line=lambda line: None,
        )
