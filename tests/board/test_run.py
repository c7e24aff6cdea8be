"""Runs on a real SSH server on loopback, with a stand-in for `synap_cli_ic` behind it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.artifact import digest_of_path
from pipeline.board import visit
from pipeline.board.board import _OPTIONS, Board
from pipeline.board.board_error import BoardError, LineBroken, OutputError
from pipeline.board.kept import Kept
from pipeline.board.run import BoardOutputs, run_on_board
from pipeline.errors import PipelineError, StageError
from pipeline.progress import Silent

COUNT, BATCH = 5, 3


class Run:
    """Five images in batches of three, to be run again and again into the same folder."""

    def __init__(self, server: Any, bundle: Path, desk: Any, keep: Path) -> None:
        self.server, self.bundle, self.keep = server, bundle, keep
        self.crops: NDArray[np.uint8] = desk.make_crops(COUNT)
        self.expected: NDArray[np.float32] = desk.expected_logits(self.crops)
        self.classes: int = desk.CLASSES
        self.progress = Silent()

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, COUNT, BATCH):
            yield self.crops[start : start + BATCH]

    def __call__(self, **changes: Any) -> BoardOutputs:
        board = replace(self.server.board, **changes)
        return run_on_board(
            board, self.bundle, self.batches(), COUNT, self.classes, self.keep, self.progress
        )

    def fails(self, kind: type[PipelineError] = BoardError, **changes: Any) -> str:
        """The error that a run ends with, in its words; nothing is left on the board."""
        with pytest.raises(kind) as caught:
            self(**changes)
        assert caught.type is kind
        assert caught.value.hint
        assert self.server.left_behind == []
        return str(caught.value)

    def completes(self, **changes: Any) -> BoardOutputs:
        """A run that has to give every logit, and to leave nothing on the board."""
        outputs = self(**changes)
        np.testing.assert_array_equal(outputs.logits, self.expected)
        assert outputs.logits.dtype == np.float32
        assert outputs.milliseconds.shape == (COUNT,)
        assert self.server.left_behind == []
        return outputs

    @property
    def kept(self) -> list[str]:
        return sorted(path.name[:6] for path in self.keep.glob("*")) if self.keep.exists() else []


@pytest.fixture
def run(server: Any, bundle: Path, desk: Any, tmp_path: Path) -> Run:
    return Run(server, bundle, desk, tmp_path / "keep")


def names(*numbers: int) -> list[str]:
    return [f"{number:06d}.png" for number in numbers]


def wait_for_pid(run: Run) -> bool:
    """Wait until the stand-in hangs; whether it did."""
    for _ in range(400):
        if run.server.remembered_pids():
            return True
        time.sleep(0.05)
    return False


def is_gone(pid: int) -> bool:
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_logits_and_times_are_those_of_the_board(run: Run) -> None:
    (run.server.root / "tmp" / "somebody else's").mkdir()
    key = run.server.root / "my 100%h key"
    shutil.copy(run.server.root / "key", key)
    key.chmod(0o600)
    outputs = run(identity=key)
    np.testing.assert_array_equal(outputs.logits, run.expected)
    # The stand-in's time of an image depends on its first byte.
    first = run.crops[:, 0, 0, 0].astype(np.float64)
    np.testing.assert_allclose(outputs.milliseconds, 2.5 + first / 64, atol=6e-4)
    assert run.server.calls == [names(0, 1, 2), names(3, 4)]
    assert run.server.left_behind == ["somebody else's"]
    assert run.progress.notes == []
    # Another run finds all of it and needs no board.
    run.server.stop()
    again = run()
    np.testing.assert_array_equal(again.logits, outputs.logits)
    np.testing.assert_array_equal(again.milliseconds, outputs.milliseconds)


def test_other_images_another_model_or_another_board_are_run_anew(run: Run, desk: Any) -> None:
    run.completes()
    run.crops[4] ^= 1
    run.expected = desk.expected_logits(run.crops)
    run.completes()
    assert run.server.calls[2:] == [names(3, 4)]
    with run.bundle.open("ab") as stream:
        stream.write(b"another")
    run.completes()
    assert len(run.server.calls) == 5
    run.server.stop()
    run.completes()
    run.fails(LineBroken, command=str(run.server.root / "bin" / "synap_cli_ic"))


def test_a_login_shell_that_talks_does_not_touch_the_numbers(run: Run) -> None:
    if Path(pwd.getpwuid(os.getuid()).pw_shell).name != "bash":
        pytest.skip("only bash reads a profile for a command")
    # What a profile prints comes before the command's own output.
    (run.server.root / ".bashrc").write_text(
        'case "$BASH_EXECUTION_STRING" in sh*) echo Input image: hello; echo hello >&2;; esac\n'
    )
    run.server.order("garbage 1")  # and neither do bytes between the documented lines
    run.completes()


# Broken connections


def test_a_dropped_connection_is_taken_up_again(run: Run) -> None:
    run.server.order("behave", "drop 1", "drop 2")
    run.completes()
    # Only the batch that was under way is run again, also where all its images were done.
    assert run.server.calls == [names(0, 1, 2), *[names(3, 4)] * 3]
    assert len(run.progress.notes) == 2
    assert "broke" in run.progress.notes[0]


def test_it_gives_up_at_last_and_a_rerun_goes_on(run: Run) -> None:
    run.server.order("drop", "behave", "drop 1", "drop 1")
    assert "broke" in run.fails(LineBroken, attempts=2)
    # They are counted in succession: the first is forgotten when a batch is done.
    assert run.kept == ["000000"]
    assert len(run.progress.notes) == 2
    run.completes()
    assert run.server.calls[4:] == [names(3, 4)]


def test_a_board_that_restarts_has_lost_the_folder(run: Run) -> None:
    run.server.order("behave", "reboot 1")
    run.completes()


def test_a_folder_that_is_lost_between_batches(run: Run) -> None:
    def batches() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, COUNT, BATCH):
            for folder in (run.server.root / "tmp").iterdir():
                shutil.rmtree(folder)
            yield run.crops[start : start + BATCH]

    outputs = run_on_board(
        run.server.board, run.bundle, batches(), COUNT, run.classes, run.keep, run.progress
    )
    np.testing.assert_array_equal(outputs.logits, run.expected)
    assert [note.split(" is gone")[0] for note in run.progress.notes] == [
        f"the folder of this run on {run.server.board}"
    ]
    assert run.server.left_behind == []


def test_a_server_that_is_away_for_a_while(run: Run) -> None:
    run.server.order("behave", "hang")
    # Ends the server under the second batch and starts it again a second later.
    helper = threading.Thread(target=lambda: (wait_for_pid(run), run.server.stop()))
    starter = threading.Timer(0, lambda: (helper.join(), time.sleep(0.5), run.server.start()))
    helper.start()
    starter.start()
    run.completes(attempts=8, pause=0.1)
    starter.join()
    assert any("nothing listens" in note for note in run.progress.notes)
    assert is_gone(run.server.remembered_pids()[0])


def test_a_line_that_falls_silent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_OPTIONS, "ServerAliveInterval", "1")
    monkeypatch.setitem(_OPTIONS, "ServerAliveCountMax", "1")
    run.server.order("freeze 1")
    run.completes()
    assert "not responding" in run.progress.notes[0]


def test_a_drop_while_files_are_copied(run: Run, desk: Any) -> None:
    cuts = run.server.root / "state" / "cuts"
    cuts.write_text("2")
    script = run.server.script("sftp-server", "sftp_cut.py", desk.sftp_server())
    run.server.configure(str(script))
    run.server.restart()
    run.completes()
    assert cuts.read_text() == "0"
    assert len(run.progress.notes) == 2


def test_a_board_without_an_sftp_server(run: Run) -> None:
    # As with an image that has the line in its configuration and not the program.
    run.server.configure("/nowhere/sftp-server")
    run.server.restart()
    run.completes()
    (note,) = run.progress.notes
    assert "no SFTP server" in note


# What does not get better by itself


def test_no_ssh_client(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = run.fails()
    assert "there is no ssh on this machine" in text
    assert "openssh-client" in text


def test_an_unknown_host_key(run: Run) -> None:
    (run.server.root / "known_hosts").write_text("")
    text = run.fails()
    assert "is not known here" in text
    assert f"-p {run.server.port}" in text
    assert (run.server.root / "known_hosts").read_text() == ""


def test_a_changed_host_key(run: Run) -> None:
    run.server.trust(run.server.root / "stranger_key.pub")
    text = run.fails()
    assert "another host key" in text
    assert "ssh-keygen" in text and "-R" in text


def test_a_key_that_the_board_refuses(run: Run) -> None:
    text = run.fails(identity=run.server.root / "stranger_key")
    assert "refuses the key" in text and "stranger_key" in text
    assert "Permission denied (publickey)" in text


def test_no_key(run: Run) -> None:
    assert "there is no such key" in run.fails(identity=Path("no such key"))


def test_nothing_listens(run: Run, desk: Any) -> None:
    text = run.fails(LineBroken, port=desk.free_port())
    assert "nothing listens on port" in text
    assert run.progress.notes == []  # a wrong address is said at once


def test_a_name_that_leads_nowhere(run: Run) -> None:
    assert "leads nowhere" in run.fails(LineBroken, host="no-such-board.invalid")


def test_a_broken_configuration(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("NoSuchOption yes\n")
    assert "does not accept its configuration" in run.fails(config=tmp_path / "config")


def test_an_account_without_a_shell(run: Run) -> None:
    line = (run.server.root / "key.pub").read_text()
    (run.server.root / "authorized_keys").write_text(f'command="echo not available; exit 1" {line}')
    assert "does not run commands" in run.fails()


def test_no_program(run: Run) -> None:
    text = run.fails(command="no_such_program")
    assert "has no no_such_program" in text and "device.command" in text


def test_a_program_that_cannot_be_run(run: Run) -> None:
    program = run.server.root / "bin" / "broken"
    program.write_text("#!/nowhere/interpreter\n")
    program.chmod(0o755)
    assert "that it can run" in run.fails(command="broken")


def test_a_folder_that_is_not_there(run: Run) -> None:
    text = run.fails(folder="/nowhere/at/all")
    assert "no folder can be made in /nowhere/at/all" in text and "device.folder" in text


def test_a_model_that_the_board_refuses(run: Run) -> None:
    run.bundle.write_bytes(b"not a bundle")
    text = run.fails()
    assert "refuses the model" in text and "Failed to load model" in text
    assert run.kept == []


def test_a_bundle_that_is_not_there(run: Run) -> None:
    run.bundle = run.bundle.with_name("missing.synap")
    with pytest.raises(StageError, match="No such file"):
        run()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_full_disk(run: Run, legacy: bool) -> None:
    if legacy:
        run.server.configure(None)
        run.server.restart()
    # The kernel's own answer: the model is written to a device that is always full.
    path = run.server.root / "bin" / "mktemp"
    path.write_text(
        '#!/bin/sh\nd=$(/usr/bin/mktemp "$@") && ln -s /dev/full "$d/model.synap" && echo "$d"\n'
    )
    path.chmod(0o755)
    text = run.fails()
    assert "disk of" in text and "is full" in text and "model.synap" in text
    assert "device.folder" in text


def test_a_file_that_cannot_be_written(run: Run) -> None:
    path = run.server.root / "bin" / "mktemp"
    path.write_text(
        '#!/bin/sh\nd=$(/usr/bin/mktemp "$@") && ln -s /nowhere/x "$d/model.synap" && echo "$d"\n'
    )
    path.chmod(0o755)
    text = run.fails()
    assert "my model.synap cannot be written" in text
    assert "irectory" in text  # the shell's own word: there is no such directory


def test_a_program_that_dies_in_mid_batch(run: Run) -> None:
    run.server.order("behave", "exit 1")
    text = run.fails()
    assert "stopped with exit code 1 at image 1 of 2" in text
    assert "inference failed" in text
    assert run.kept == ["000000"]


def test_a_program_that_crashes(run: Run) -> None:
    run.server.order("crash 2")
    assert "was ended by SIGSEGV at image 2 of 3" in run.fails()


def test_a_program_that_hangs(run: Run) -> None:
    run.server.order("hang 1")
    text = run.fails(timeout=1.5)
    assert "over 3 images did not end within 1.5 s" in text
    # It ignores polite requests, and is gone from the board nevertheless.
    assert is_gone(run.server.remembered_pids()[0])


def test_nothing_runs_on_when_this_side_is_killed(run: Run, tmp_path: Path) -> None:
    run.server.order("hang 1")
    board = run.server.board
    np.save(tmp_path / "crops.npy", run.crops[:3])
    script = f"""
        import numpy as np
        from pathlib import Path
        from pipeline.board.board import Board
        from pipeline.board.run import run_on_board
        from pipeline.progress import Silent
        board = Board("127.0.0.1", port={board.port}, user={board.user!r},
                      identity=Path({str(board.identity)!r}), folder={board.folder!r},
                      config=Path({str(board.config)!r}))
        crops = np.load({str(tmp_path / "crops.npy")!r})
        run_on_board(board, Path({str(run.bundle)!r}), [crops], 3, {run.classes},
                     Path({str(run.keep)!r}), Silent())
    """
    environment = os.environ | {
        "PYTHONPATH": str(Path(visit.__file__).parents[2]),
        "TMPDIR": str(tmp_path),
    }
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], env=environment)
    wait_for_pid(run)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_gone(run.server.remembered_pids()[0])


def test_an_interruption_cleans_up(run: Run) -> None:
    run.server.order("hang 1")
    threading.Thread(
        target=lambda: wait_for_pid(run) and os.kill(os.getpid(), signal.SIGINT)
    ).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert is_gone(run.server.remembered_pids()[0])
    assert run.server.left_behind == []


def test_what_cannot_be_removed_is_said(run: Run) -> None:
    run.server.order("behave", "hang")
    threading.Thread(target=lambda: (wait_for_pid(run), run.server.stop())).start()
    with pytest.raises(LineBroken):
        run(attempts=2)
    (folder,) = run.server.left_behind
    assert folder in run.progress.notes[-1] and "remove it by hand" in run.progress.notes[-1]


# Output


def test_output_unlike_the_documented_one(run: Run) -> None:
    run.server.order("behave", "another-class 1")
    text = run.fails(OutputError)
    assert "the output for 000004.png is not the documented one: 8 classes" in text
    assert run.kept == ["000000"]


def test_output_without_an_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.server.order("flood")
    limited = visit.call
    monkeypatch.setattr(
        visit, "call", lambda argv, **options: limited(argv, **options, max_output=100_000)
    )
    assert "does not end" in run.fails(OutputError)


# What the caller gives


@pytest.mark.parametrize(
    ("batches", "count", "words"),
    [
        ([(2, 4, 4, 3)], 3, "3 images were announced for the board, and 2 came"),
        ([(2, 4, 4, 3)], 1, "and more came"),
        ([(2, 4, 4, 1)], 2, r"uint8 \[2, 4, 4, 1\], not uint8"),
        ([(4, 4, 3)], 4, "not uint8"),
        ([(2049, 1, 1, 3)], 4000, "at most 2048"),
    ],
)
def test_batches_that_are_none(
    tmp_path: Path, bundle: Path, batches: list[tuple[int, ...]], count: int, words: str
) -> None:
    # Nothing listens on this port; what has to be right is found in `keep`.
    keep = tmp_path / "keep"
    board = Board("127.0.0.1", port=1)
    arrays = [np.zeros(shape, np.uint8) for shape in batches]
    if "came" in words and count > 2:
        store = Kept(keep, board, digest_of_path(bundle), 7, print)
        store.save(store.path(0, arrays[0]), (np.zeros((2, 7), np.float32), np.zeros(2)))
    with pytest.raises(StageError, match=words):
        run_on_board(board, bundle, arrays, count, 7, keep, Silent())
