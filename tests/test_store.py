"""The store: what is kept is whole, made once, and made again where it was damaged."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.store import Entry, Store

FIELDS = {"version": 1, "options": {"rule": "minmax", "depth": {"size": 8}}}
BUILDER = """
    import sys, time
    from pathlib import Path
    from pipeline.store import Store

    root, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

    def build(folder):
        (folder / "half").write_text("first half")
        with log.open("a") as stream:
            stream.write("building\\n")
        time.sleep(seconds)
        (folder / "half").write_text("both halves")
        return {}

    store = Store(root, lambda text: print("said:", text, flush=True))
    print("waiting", flush=True)
    entry = store.get("kind", {"a": 1}, build)
    print("cached" if entry.cached else "made", entry.path("half").read_text(), flush=True)
"""


class Kept:
    """A store in a test, what it said, and how often it built."""

    def __init__(self, root: Path) -> None:
        self.said: list[str] = []
        self.built = 0
        self.store = Store(root, self.said.append)

    def get(self, fields: Mapping[str, Any] = FIELDS, content: str = "result") -> Entry:
        def build(folder: Path) -> Mapping[str, Any]:
            self.built += 1
            (folder / "file").write_text(content)
            (folder / "inner").mkdir()
            (folder / "inner" / "deep").write_text(content * 2)
            return {"seconds": 1.5, "details": {"note": "für alle"}}

        return self.store.get("kind", fields, build)

    def leftovers(self) -> list[str]:
        return sorted(p.name for p in self.store.root.rglob("*") if ".partial" in p.name)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "store")


def age(path: Path) -> None:
    """Give a file another time, as any program that writes it does."""
    os.utime(path, ns=(1, 1))


def start(root: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILDER), str(root), str(log), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parents[1])},
    )


def wait_for(path: Path) -> None:
    """Until the file has something in it: it is there a moment before."""
    deadline = time.monotonic() + 60
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def test_made_once(kept: Kept) -> None:
    first, second = kept.get(), kept.get()
    assert (first.cached, second.cached, kept.built) == (False, True, 1)
    assert second.path("file").read_text() == "result"
    assert second.size("file") == 6
    assert second.size("inner") == 12
    assert second.about["details"] == {"note": "für alle"}
    assert first.sha256("inner") == second.sha256("inner")
    assert second.fields == FIELDS
    assert kept.said == []
    assert kept.leftovers() == []


def test_the_key_is_the_fields_in_any_order(kept: Kept) -> None:
    kept.get()
    assert kept.get({"options": {"depth": {"size": 8}, "rule": "minmax"}, "version": 1}).cached
    assert not kept.get({**FIELDS, "version": 2}).cached
    assert not kept.get({**FIELDS, "version": "1"}).cached, "a number is not its text"
    assert kept.built == 3


def test_a_failed_build_leaves_nothing(kept: Kept) -> None:
    def build(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_text("x")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        kept.store.get("kind", FIELDS, build)
    assert kept.leftovers() == []
    assert kept.store.find("kind", FIELDS) is None
    assert not kept.get().cached


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b"null", b"3", b"\xff\xfe", b'{"fields": {}}',
        b'{"fields": {}, "files": []}', b'{"fields": 1, "files": {"file": 3}}',
        b'{"fields": {}, "files": {"file": {"sha256": "x"}}}', b'{"fields": {}, "files": {}}',
    ],
)  # fmt: skip
def test_a_damaged_record(kept: Kept, content: bytes) -> None:
    record = kept.get().folder / "entry.json"
    record.write_bytes(content)
    assert kept.store.find("kind", FIELDS) is None
    assert kept.said == [f"{record} is damaged; its result is made again"]
    assert isinstance(kept.store.difference("kind", FIELDS), str)
    again = kept.get()
    assert (again.cached, kept.get().cached, kept.built) == (False, True, 2)


def test_a_record_that_is_a_folder(kept: Kept) -> None:
    record = kept.get().folder / "entry.json"
    record.unlink()
    record.mkdir()
    assert isinstance(kept.store.difference("kind", FIELDS), str)
    assert not kept.get().cached
    assert kept.get().cached


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_change_of_a_record_is_seen(kept: Kept, data: st.DataObject) -> None:
    entry = kept.get()
    record = entry.folder / "entry.json"
    content = bytearray(record.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    record.write_bytes(content)
    found = kept.store.find("kind", FIELDS)
    # White space and the case of a \\u escape may change without changing what is said.
    assert found is None or found.about == entry.about
    kept.store.difference("kind", {"version": 2})
    assert kept.get().about["details"] == {"note": "für alle"}


def test_a_changed_file(kept: Kept) -> None:
    path = kept.get().path("file")
    path.write_text("tluser")
    age(path)
    assert not kept.get().cached
    assert kept.said == [f"{path} was changed since it was made; it is made again"]
    assert path.read_text() == "result"


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_truncated_file(kept: Kept, keep_time: bool) -> None:
    path = kept.get().path("file")
    time_ns = path.stat().st_mtime_ns
    path.write_text("resul")
    if keep_time:
        os.utime(path, ns=(time_ns, time_ns))
    assert not kept.get().cached
    assert path.read_text() == "result"


@pytest.mark.parametrize("name", ["file", "inner/deep"])
def test_a_lost_file(kept: Kept, name: str) -> None:
    (kept.get().folder / name).unlink()
    assert not kept.get().cached
    assert kept.get().cached


def test_a_changed_file_in_a_folder(kept: Kept) -> None:
    path = kept.get().folder / "inner" / "deep"
    path.write_text("tlusertluser")
    assert not kept.get().cached


def test_a_file_that_was_only_touched(kept: Kept) -> None:
    age(kept.get().path("file"))
    assert kept.get().cached
    assert kept.said == []


def test_the_nearest_entry_says_what_changed(kept: Kept) -> None:
    difference = kept.store.difference
    assert difference("kind", FIELDS) == "never made before"
    kept.get()
    assert difference("other", FIELDS) == "never made before"
    changed = {"version": 1, "options": {"rule": "percentile", "depth": {"size": 8}}}
    assert difference("kind", changed) == "options.rule: minmax -> percentile"
    kept.get({"version": 9, "options": {"rule": "other"}})
    assert difference("kind", changed) == "options.rule: minmax -> percentile"
    assert difference(
        "kind", {"version": 1, "options": {"rule": "minmax", "depth": {"size": 9}}}
    ) == ("options.depth.size: 8 -> 9")
    assert difference("kind", {"version": 1, "options": {"depth": {"size": 8}}}) == (
        "options.rule: minmax -> -"
    )
    assert difference("kind", {**FIELDS, "takes": "a" * 64}) == "takes: - -> aaaaaaaaaaaa…"


def test_no_difference_means_damage(kept: Kept) -> None:
    kept.get().path("file").unlink()
    assert kept.store.difference("kind", FIELDS) == "the stored result was damaged"


def test_two_runs_at_once_build_once(tmp_path: Path) -> None:
    root, log = tmp_path / "store", tmp_path / "log"
    first = start(root, log, 3)
    wait_for(log)
    second = start(root, log, 3)
    answers = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], answers
    assert log.read_text() == "building\n"
    assert "made both halves" in answers[0][0]
    assert "said: another run is making kind" in answers[1][0]
    assert "cached both halves" in answers[1][0]


def test_what_a_killed_run_left_is_made_anew(tmp_path: Path) -> None:
    root, log = tmp_path / "store", tmp_path / "log"
    first = start(root, log, 60)
    wait_for(log)
    waiting = start(root, log, 0)
    first.kill()
    first.communicate()
    out, err = waiting.communicate(timeout=60)
    assert "made both halves" in out, err
    assert log.read_text() == "building\n" * 2
    assert not list(root.rglob("*.partial"))


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    root, log = tmp_path / "store", tmp_path / "log"
    process = start(root, log, 60)
    wait_for(log)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert not list(root.rglob("*.partial"))
    assert not list(root.rglob("entry.json"))


def test_a_lock_by_name_excludes(tmp_path: Path) -> None:
    ours = Store(tmp_path, lambda text: None)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from pipeline.store import Store
        with Store(Path(sys.argv[1]), lambda text: print(text, flush=True)).lock("results"):
            print("held", flush=True)
        """
    )
    with ours.lock("results"):
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parents[1])},
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "another run is making results; waiting for it\n"
        assert other.poll() is None
    assert other.communicate(timeout=60)[0] == "held\n"
    assert other.returncode == 0
