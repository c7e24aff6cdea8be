"""Real processes: how they end, and that none is left."""

import os
import sys
import time
from pathlib import Path

import pytest

from pipeline.board.board_error import BoardError
from pipeline.board.call import Answer, call


def run(code: str, timeout: float = 30.0, **options: int) -> Answer:
    return call([sys.executable, "-c", code], timeout=timeout, **options)


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_output_and_errors() -> None:
    answer = run(r"import sys; print('one'); sys.stderr.write('two\x1b[31m\n\nthree'); sys.exit(3)")
    assert answer == Answer(3, b"one\n", ("two [31m", "three"))


def test_the_input_stays_open_until_it_ends() -> None:
    code = "import select, sys; print(select.select([sys.stdin], [], [], 0.3)[0])"
    assert run(code).out == b"[]\n"


def test_an_input(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\0\xff" * 100_000)
    with (tmp_path / "in").open("rb") as stream:
        code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
        answer = call([sys.executable, "-c", code], timeout=30.0, stdin=stream)
    assert answer.out == b"\0\xff" * 100_000


def test_much_of_both_at_once() -> None:
    code = "import sys\nfor i in range(3000): print('o' * 100); sys.stderr.write('e' * 100 + '\\n')"
    answer = run(code)
    assert len(answer.out) == 3000 * 101
    assert answer.errors[-1] == "e" * 100


def test_the_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    answer = run(code, timeout=1.5)
    assert answer.code is None
    assert not answer.flooded
    assert all(is_gone(int(pid)) for pid in answer.out.split())


def test_a_limit_of_output() -> None:
    answer = run("while True: print('x' * 1000)", max_output=100_000)
    assert answer.code is None
    assert answer.flooded


def test_one_that_left_something_behind_with_its_pipes() -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)"
    )
    answer = run(code)
    assert answer.code == 0
    assert is_gone(int(answer.out))


def test_a_signal() -> None:
    assert run("import os; os.kill(os.getpid(), 9)").code == -9


def test_it_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run("import os; print(os.environ['LC_ALL'])").out == b"C\n"


def test_what_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="cannot be run: No such file"):
        call([str(tmp_path / "missing")], timeout=1.0)
    assert os.listdir(tmp_path) == []
