import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.data.dataset import content_digest
from pipeline.data.digest_index import DigestIndex
from pipeline.data.digits import open_digits
from pipeline.data.imagenet import Imagenet
from pipeline.progress import Silent

Write = Callable[[str, bytes | int], Path]
TENCH = "n01440764"
IDS = [f"{TENCH}/{place}.png" for place in range(12)]


class Counting(Imagenet):
    """Says which images were read and which decoded."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: list[str] = []
        self.decoded: list[str] = []

    def content(self, id: str) -> bytes:
        self.read.append(id)
        return super().content(id)

    def decode(self, id: str, content: bytes):  # type: ignore[no-untyped-def]
        self.decoded.append(id)
        return super().decode(id, content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "digests.json"


@pytest.fixture
def dataset(folder: Path, write: Write) -> Counting:
    for place, id in enumerate(IDS):
        write(id, place)
    return Counting(folder)


def digests(path: Path, dataset: Imagenet, ids: list[str] = IDS) -> dict[str, str]:
    index = DigestIndex(path)
    found, unreadable = index.digests(dataset, ids, Silent())
    assert not unreadable
    index.save()
    return found


def expected(folder: Path) -> dict[str, str]:
    return {id: content_digest((folder / id).read_bytes()) for id in IDS}


def test_a_second_run_reads_nothing(path: Path, dataset: Counting) -> None:
    assert digests(path, dataset) == expected(dataset.folder)
    assert sorted(dataset.read) == sorted(IDS)
    again = Counting(dataset.folder)
    assert digests(path, again) == expected(dataset.folder)
    assert again.read == []


def test_a_second_run_writes_nothing(path: Path, dataset: Counting) -> None:
    digests(path, dataset)
    before = path.stat()
    digests(path, dataset)
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    assert os.listdir(path.parent) == [path.name]


def test_only_changed_and_new_files_are_read_again(
    path: Path, dataset: Counting, write: Write
) -> None:
    digests(path, dataset)
    times = (dataset.folder / IDS[2]).stat()
    longer = write(IDS[2], b"another length")
    os.utime(longer, ns=(times.st_atime_ns, times.st_mtime_ns))
    same_length = dataset.folder / IDS[3]
    status = same_length.stat()
    same_length.write_bytes(bytes(status.st_size))
    os.utime(same_length, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    new = write(f"{TENCH}/new.png", 99)
    again = Counting(dataset.folder)
    found = digests(path, again, [*IDS, f"{TENCH}/new.png"])
    assert sorted(again.read) == sorted([IDS[2], IDS[3], f"{TENCH}/new.png"])
    assert found[IDS[2]] == content_digest(longer.read_bytes())
    assert found[IDS[3]] == content_digest(bytes(status.st_size))
    assert found[f"{TENCH}/new.png"] == content_digest(new.read_bytes())


def test_faults_are_found_once_and_remembered(path: Path, dataset: Counting, write: Write) -> None:
    write(IDS[4], b"text")
    write(IDS[7], b"")
    index = DigestIndex(path)
    index.digests(dataset, IDS, Silent())
    broken = index.broken(dataset, IDS, Silent())
    assert broken == {IDS[4]: "is neither JPEG nor PNG", IDS[7]: "is an empty file"}
    index.save()
    again = Counting(dataset.folder)
    other = DigestIndex(path)
    other.digests(again, IDS, Silent())
    assert other.broken(again, IDS, Silent()) == broken
    assert (again.read, again.decoded) == ([], [])
    write(IDS[4], 4)
    assert set(DigestIndex(path).broken(again, IDS, Silent())) == {IDS[7]}
    assert again.decoded == [IDS[4]]


def test_another_pillow_judges_anew_but_digests_stay(path: Path, dataset: Counting) -> None:
    index = DigestIndex(path)
    index.digests(dataset, IDS, Silent())
    index.broken(dataset, IDS, Silent())
    index.save()
    document = json.loads(path.read_text())
    document["decoder"] = "Pillow 1.1.7"
    path.write_text(json.dumps(document))
    again = Counting(dataset.folder)
    other = DigestIndex(path)
    other.digests(again, IDS, Silent())
    assert again.read == []
    other.broken(again, IDS, Silent())
    assert sorted(again.decoded) == sorted(IDS)


def test_unreadable_files_are_told_apart(path: Path, dataset: Counting) -> None:
    (dataset.folder / IDS[1]).unlink()
    index = DigestIndex(path)
    found, unreadable = index.digests(dataset, IDS, Silent())
    assert set(found) == set(IDS) - {IDS[1]}
    assert list(unreadable) == [IDS[1]] and "No such file" in unreadable[IDS[1]]
    assert "No such file" in index.broken(dataset, IDS, Silent())[IDS[1]]


def test_what_is_no_file_is_not_remembered(path: Path) -> None:
    dataset = open_digits(None)
    ids = [item.id for item in dataset.listing()]
    index = DigestIndex(path)
    found, _ = index.digests(dataset, ids, Silent())
    assert found == {id: content_digest(dataset.content(id)) for id in ids}
    assert index.broken(dataset, ids, Silent()) == {}
    index.save()
    assert not path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        *[b"", b"\xff\xfe", b"[]", b"null", b'"x"', b"{}", b"[" * 100_000],
        b'{"format": 2, "decoder": "x", "files": {}}',
        b'{"format": 1, "decoder": "x", "files": []}',
        b'{"format": 1, "decoder": "x", "files": {"/a": [1, 2, "abc", null]}}',
        b'{"format": 1, "decoder": "x", "files": {"/a": [1, 2]}}',
        b'{"format": 1, "decoder": "x", "files": {"/a": 3}}',
        "half",
    ],
)
def test_a_damaged_index_is_rebuilt_with_a_note(
    path: Path, dataset: Counting, damage: bytes | str
) -> None:
    digests(path, dataset)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if isinstance(damage, str) else damage)
    index = DigestIndex(path)
    (note,) = index.notes
    assert f"{path} is damaged" in note and "rebuild" in note
    assert index.digests(dataset, IDS, Silent())[0] == expected(dataset.folder)
    index.save()
    assert DigestIndex(path).notes == ()
    assert json.loads(path.read_bytes()) == json.loads(whole)


def test_an_index_that_cannot_be_stored_is_a_note(tmp_path: Path, dataset: Counting) -> None:
    (tmp_path / "file").write_text("in the way")
    index = DigestIndex(tmp_path / "file" / "digests.json")
    index.digests(dataset, IDS, Silent())
    index.save()
    assert any("could not be stored" in note for note in index.notes)


def test_a_folder_in_the_place_of_the_index_leaves_no_temporary(
    path: Path, dataset: Counting
) -> None:
    path.mkdir(parents=True)
    index = DigestIndex(path)
    index.digests(dataset, IDS, Silent())
    index.save()
    assert len(index.notes) == 2
    assert os.listdir(path.parent) == [path.name]


def test_the_index_is_replaced_and_never_rewritten_in_place(path: Path, dataset: Counting) -> None:
    """Whoever has it open, or is killed while writing, has a whole file."""
    digests(path, dataset, IDS[:6])
    before = path.read_bytes()
    with path.open("rb") as reader:
        digests(path, dataset)
        assert reader.read() == before
    assert path.read_bytes() != before


def test_runs_at_once_keep_what_the_other_found(path: Path, dataset: Counting) -> None:
    first, second = DigestIndex(path), DigestIndex(path)
    first.digests(dataset, IDS[:6], Silent())
    second.digests(dataset, IDS[6:], Silent())
    first.save()
    second.save()
    again = Counting(dataset.folder)
    digests(path, again)
    assert again.read == []


def test_processes_that_save_at_once_leave_a_sound_index(path: Path, dataset: Counting) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.data.digest_index import DigestIndex\n"
        "from pipeline.data.imagenet import Imagenet\n"
        "from pipeline.progress import Silent\n"
        "index = DigestIndex(Path(sys.argv[1]))\n"
        "dataset = Imagenet(Path(sys.argv[2]))\n"
        "for id in sys.argv[3:]:\n"
        "    index.digests(dataset, [id], Silent())\n"
        "    index.save()\n"
        "assert not index.notes, index.notes\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(dataset.folder), *ids])
        for ids in (IDS, IDS[::-1], IDS[::2])
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    index = DigestIndex(path)
    assert index.notes == ()
    assert index.digests(dataset, IDS, Silent())[0] == expected(dataset.folder)
    assert os.listdir(path.parent) == [path.name]


def test_files_that_are_gone_are_forgotten(path: Path, dataset: Counting, write: Write) -> None:
    digests(path, dataset)
    (dataset.folder / IDS[0]).unlink()
    write(IDS[1], 1000)
    digests(path, dataset, IDS[1:])
    remembered = json.loads(path.read_text())["files"]
    assert set(remembered) == {str(dataset.folder / id) for id in IDS[1:]}


def test_names_that_are_no_unicode(path: Path, folder: Path, write: Write) -> None:
    name = os.fsdecode(b"n01440764_\xff.png")
    write(name, 1)
    dataset = Counting(folder)
    digests(path, dataset, [name])
    assert digests(path, dataset, [name]) == {name: content_digest((folder / name).read_bytes())}
    assert dataset.read == [name]


class Interrupting(Silent):
    """Ctrl-C after some images."""

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator["Interrupting"]:
        self.left = 5
        yield self

    def advance(self, amount: float = 1.0) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_what_was_read_before_an_interruption_can_be_stored(path: Path, dataset: Counting) -> None:
    index = DigestIndex(path)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        index.digests(dataset, IDS, Interrupting())
    assert threading.active_count() == before
    index.save()
    assert len(json.loads(path.read_text())["files"]) == 5


def test_long_reading_is_stored_on_the_way(
    path: Path, dataset: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a killed run goes on where it was."""
    monkeypatch.setattr("pipeline.data.digest_index.SECONDS_BETWEEN_SAVES", 0.0)
    with pytest.raises(KeyboardInterrupt):
        DigestIndex(path).digests(dataset, IDS, Interrupting())
    assert len(json.loads(path.read_text())["files"]) == 5
