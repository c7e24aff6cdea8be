"""Words that reach a shell or ssh, and the command lines made of them."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.board.board import Board
from pipeline.board.outputs import board_of
from pipeline.errors import UsageError
from pipeline.recipe import Device

NASTY = ("", "-oProxyCommand=touch x", "a b", "a;b", "$(x)", "`x`", "a\nb", "a'b", "../x", "a\0b")


@pytest.mark.parametrize("field", ["host", "user", "folder", "command"])
@pytest.mark.parametrize("word", NASTY)
def test_nasty_words_are_refused(field: str, word: str) -> None:
    with pytest.raises(UsageError, match=rf"device\.{field}"):
        Board(**{"host": "board", field: word})


@pytest.mark.parametrize("word", ["root@board", "board:22", "[::1]", "ssh://board", "board."])
def test_what_is_no_host(word: str) -> None:
    with pytest.raises(UsageError, match=r"device\.host"):
        Board(word)


@pytest.mark.parametrize("word", ["/", "tmp", "/tmp/", "//tmp", "/tmp/..", "/a/../b", "/tmp/-x"])
def test_what_is_no_folder(word: str) -> None:
    with pytest.raises(UsageError, match=r"device\.folder"):
        Board("board", folder=word)


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", 0), ("port", 65536), ("timeout", 0.0), ("attempts", 0), ("connect_timeout", -1),
     ("pause", -0.1), ("identity", Path('a"b'))],
)  # fmt: skip
def test_values_that_cannot_be(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"device\.{field}"):
        Board(**{"host": "board", field: value})


@pytest.mark.parametrize("host", ["b", "board", "sl1680.local", "10.0.0.7", "::1", "fe80::1%eth0"])
def test_hosts(host: str) -> None:
    assert Board(host).ssh("true")[-2] == host


def test_an_ipv6_address_stands_in_brackets_for_scp() -> None:
    assert Board("fe80::1%eth0").scp(["a"], "/tmp/x/", legacy=False)[-1] == "[fe80::1%eth0]:/tmp/x/"


def test_files_can_be_no_option_and_no_host() -> None:
    words = Board("board").scp(["-r", "other:file"], "/tmp/x/", legacy=True)
    assert words[-4:] == ["--", "./-r", "./other:file", "board:/tmp/x/"]
    assert words[1] == "-O"


def test_ssh_itself_understands_the_options(tmp_path: Path) -> None:
    """`ssh -G` prints what it would do, without doing it."""
    key = tmp_path / "my 100%h key"
    (tmp_path / "config").write_text("ControlMaster auto\nForwardAgent yes\nLogLevel QUIET\n")
    board = Board("fe80::1", port=2222, user="me", identity=key, config=tmp_path / "config")
    words = board.ssh("true")
    done = subprocess.run(
        [words[0], "-G", *words[1:-1]], capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    for line in ("hostname fe80::1", "port 2222", "user me", "batchmode yes", "controlmaster false",
                 "forwardagent no", "loglevel INFO", "identitiesonly yes",
                 "serveraliveinterval 5"):  # fmt: skip
        assert line in said
    assert [line for line in said if line.startswith("identityfile")] == [
        f"identityfile {str(key).replace('%', '%%')}"
    ]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_a_script_reaches_the_shell_as_it_is(text: str) -> None:
    """ssh joins its words with spaces and the login shell splits them: try it with a real one."""
    script = f"printf %s {_quoted(text)}"
    command = Board("board").ssh(script)[-1]
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True)
    assert done.stdout == os.fsencode(text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def test_what_a_user_types() -> None:
    assert str(Board("board")) == "root@board"
    assert str(Board("board", port=2222, user="me")) == "me@board:2222"
    board = Board("board", port=2222, identity=Path("my key"), config=Path("c"))
    assert board.by_hand() == "ssh -F c -i 'my key' -p 2222 root@board"


def test_the_words_of_a_recipe() -> None:
    """A chip in any case, and a home folder where ssh would not look for one."""
    device = Device(host="board", target="SL1680", ssh_config="~/b", identity="~/k", port=22)
    assert device.target == "sl1680"
    board = board_of(device, Path("recipes"))
    assert (board.config, board.identity) == (Path.home() / "b", Path.home() / "k")
