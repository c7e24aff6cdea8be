"""The real hub client against a real server on loopback."""

import errno
import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.sources.hub import _bar_class, _require_room
from pipeline.sources.hub_errors import client_settings, translated

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "timm/tiny.one"
FETCH = {"do": "fetch", "repository": REPOSITORY}
LOOK = {"do": "look", "repository": REPOSITORY}
CACHED = {"do": "is_cached", "repository": REPOSITORY}
CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def filled(hub: Any) -> Any:
    hub.files = {
        f"{REPOSITORY}/model.safetensors": CONTENT,
        f"{REPOSITORY}/pytorch_model.bin": b"x",
    }
    return hub


def transfers(hub: Any) -> list[str]:
    return [request for request in hub.requests if request.startswith("GET /store/")]


def test_downloads_once_and_records_commit_and_digest(filled: Any, ask: Any) -> None:
    look, before, fetched, after, again = ask(LOOK, CACHED, FETCH, CACHED, FETCH)
    assert look["value"] is None and before["value"] is False and after["value"] is True
    assert fetched["value"]["commit"] == COMMIT
    assert fetched["value"]["sha256"] == SHA256
    assert Path(fetched["value"]["path"]).read_bytes() == CONTENT
    assert fetched["advanced"] == len(CONTENT)
    assert again["value"] == fetched["value"] and again["advanced"] == 0
    assert not fetched["notes"] and not again["notes"]
    assert len(transfers(filled)) == 1
    assert not any("pytorch_model" in request for request in filled.requests)
    assert fetched["heavy"] == []


def test_offline_takes_the_cache_or_says_so(filled: Any, ask: Any) -> None:
    look, empty = ask(LOOK, FETCH, HF_HUB_OFFLINE="1")
    assert look["error"] == empty["error"] == "HubError"
    assert "HF_HUB_OFFLINE is set" in empty["text"] and "make demo" in empty["text"]
    assert filled.requests == []
    ask(FETCH)
    filled.requests.clear()
    (kept,) = ask(FETCH, HF_HUB_OFFLINE="1")
    assert kept["value"]["sha256"] == SHA256 and kept["value"]["commit"] == COMMIT
    assert filled.requests == []


def test_the_older_file_is_taken_where_there_is_no_other(filled: Any, ask: Any) -> None:
    del filled.files[f"{REPOSITORY}/model.safetensors"]
    look, fetched = ask(LOOK, FETCH)
    assert look["value"] is None
    assert Path(fetched["value"]["path"]).name == "pytorch_model.bin"


def test_a_repository_without_weights(hub: Any, ask: Any) -> None:
    hub.files = {f"{REPOSITORY}/config.json": b"{}"}
    for answer in ask(LOOK, FETCH):
        assert answer["error"] == "HubError"
        assert "no weights under the name model.safetensors or pytorch_model.bin" in answer["text"]


def test_a_dropped_connection_is_resumed(filled: Any, ask: Any) -> None:
    filled.drop_after = [100_000]
    (fetched,) = ask(FETCH)
    assert fetched["value"]["sha256"] == SHA256
    assert len(transfers(filled)) == 2
    assert any("resume" in note for note in fetched["notes"])


@pytest.mark.slow  # the client waits between its five attempts
def test_a_connection_that_never_holds_leaves_nothing(filled: Any, ask: Any) -> None:
    filled.drop_after = [0] * 20
    fetched, cached = ask(FETCH, CACHED)
    assert fetched["error"] == "HubError" and cached["value"] is False
    assert "WEIGHTS=file" in fetched["text"]


def test_other_bytes_than_declared_are_refused_and_healed(filled: Any, ask: Any) -> None:
    name = f"{REPOSITORY}/model.safetensors"
    filled.sent_instead = {name: bytes(len(CONTENT))}
    (refused,) = ask(FETCH)
    assert refused["error"] == "StageError"
    assert f"not {SHA256}" in refused["text"]
    filled.sent_instead = {}
    (healed,) = ask(FETCH)
    assert healed["value"]["sha256"] == SHA256
    assert any("damaged in the cache" in note for note in healed["notes"])


def test_a_file_damaged_in_the_cache_is_refused_offline(filled: Any, ask: Any) -> None:
    (fetched,) = ask(FETCH)
    Path(fetched["value"]["path"]).resolve().write_bytes(CONTENT[:-1] + b"?")
    (refused,) = ask(FETCH, HF_HUB_OFFLINE="1")
    assert refused["error"] == "StageError" and "bytes the hub declares" in refused["text"]


def test_a_short_answer_is_not_taken_for_the_file(filled: Any, ask: Any) -> None:
    filled.sent_instead = {f"{REPOSITORY}/model.safetensors": CONTENT[:1000]}
    fetched, cached = ask(FETCH, CACHED)
    assert fetched["error"] == "HubError" and "not whole" in fetched["text"]
    assert cached["value"] is False


def test_without_a_declared_digest_the_one_seen_is_recorded(filled: Any, ask: Any) -> None:
    filled.large_files = False
    (fetched,) = ask(FETCH)
    assert fetched["value"]["sha256"] == SHA256


def test_refusals_say_what_to_do(hub: Any, ask: Any) -> None:
    refusals = {
        "timm/unknown": (401, "RepoNotFound", "no such repository"),
        "timm/gone": (404, "", "no such repository"),
        "timm/gated": (403, "GatedRepo", "does not let you"),
        "timm/private": (401, "", "does not let you"),
        "timm/broken": (500, "", "status 500"),
        "timm/busy": (503, "", "status 503"),
    }
    hub.status = {repository: entry[:2] for repository, entry in refusals.items()}
    steps = [step | {"repository": name} for name in refusals for step in (LOOK, FETCH)]
    answers = ask(*steps)
    for step, answer in zip(steps, answers, strict=True):
        assert answer["error"] == "HubError"
        assert refusals[step["repository"]][2] in answer["text"]
        assert answer["text"].startswith(step["repository"])
        assert len(answer["text"].splitlines()) == 2  # with a hint


def test_trouble_at_the_hub_falls_back_to_the_cache(filled: Any, ask: Any) -> None:
    ask(FETCH)
    filled.status = {REPOSITORY: (502, "")}
    (fetched,) = ask(FETCH)
    assert fetched["value"]["sha256"] == SHA256
    assert any("using the copy in the hub client's cache" in note for note in fetched["notes"])


def test_revisions(filled: Any, ask: Any) -> None:
    bad, pinned = ask(FETCH | {"revision": "nope"}, FETCH | {"revision": COMMIT})
    assert bad["error"] == "HubError" and "no revision 'nope'" in bad["text"]
    assert pinned["value"]["commit"] == COMMIT


def test_a_hub_out_of_reach(ask: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for answer in ask(LOOK, FETCH, HF_ENDPOINT=address):
            assert answer["error"] == "HubError"
            assert f"the hub {address} cannot be reached" in answer["text"]
            for way in ("WEIGHTS=file", "HF_ENDPOINT", "make demo"):
                assert way in answer["text"]


def test_a_hub_that_does_not_answer(filled: Any, ask: Any) -> None:
    filled.silent = True
    (answer,) = ask(LOOK)
    assert answer["error"] == "HubError" and "cannot be reached" in answer["text"]


@pytest.mark.parametrize("address", ["not an address", "http://[", "ftp://127.0.0.1"])
def test_a_wrong_endpoint(ask: Any, address: str) -> None:
    for answer in ask(LOOK, FETCH, HF_ENDPOINT=address):
        assert answer["error"] == "HubError"
        assert address in answer["text"]


def test_a_page_that_is_no_hub(filled: Any, ask: Any) -> None:
    filled.is_hub = filled.large_files = False
    for answer in ask(LOOK, FETCH):
        assert answer["error"] == "HubError" and "not a hub" in answer["text"]


def test_no_room_on_the_disk(filled: Any, ask: Any) -> None:
    filled.declared_size = 10**18
    for answer in ask(LOOK, FETCH):
        assert answer["error"] == "StageError"
        assert "no room on the disk" in answer["text"] and "HF_HOME" in answer["text"]
    assert transfers(filled) == []


def test_a_cache_below_a_folder_that_may_not_be_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = client_settings()
    with translated(REPOSITORY, None):
        pass  # what it imports is read while we are still ourselves
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        outer.chmod(0o755)
        locked = outer / "locked"
        locked.mkdir()
        locked.chmod(0)
        monkeypatch.setattr(settings, "HF_HUB_CACHE", str(locked / "hf" / "hub"))
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            _require_room(1, REPOSITORY)
            with pytest.raises(StageError, match="no room on the disk"):
                _require_room(10**18, REPOSITORY)
        finally:
            if user == 0:
                os.seteuid(0)
            locked.chmod(0o700)


def test_a_disk_that_does_not_say_how_full_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    with pytest.raises(StageError, match="Permission denied") as caught:
        _require_room(1, REPOSITORY)
    assert "HF_HOME" in caught.value.hint


def test_a_name_that_is_no_repository(ask: Any) -> None:
    (answer,) = ask(LOOK | {"repository": "timm/../x y"})
    assert answer["error"] == "HubError" and "check model.name" in answer["text"]


class Told:
    """A bar that adds up."""

    done = 0.0

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount


def test_the_clients_chunked_transfer_can_tell_our_bar() -> None:
    """The hub serves large files in chunks by a protocol of its own, reported by two bars."""
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    bar = Told()
    seen = []
    with reporting.XetDownloadProgressReporter(
        reconstruction_desc="disk", total=100, log_level=30, name="x", tqdm_class=_bar_class(bar)
    ) as reporter:
        for disk, network in ((0, 50), (60, 70), (100, 80)):
            report = SimpleNamespace(
                total_bytes=100,
                total_bytes_completed=disk,
                total_bytes_completion_rate=1.0,
                total_transfer_bytes=80,
                total_transfer_bytes_completed=network,
                total_transfer_bytes_completion_rate=1.0,
            )
            reporter.update_progress(report, {})
            seen.append(bar.done)
    assert seen == [50, 70, 100]


def test_a_transfer_that_starts_anew_is_not_counted_twice() -> None:
    bar = Told()
    told = _bar_class(bar)(total=100)
    for amount in (60, -60, 50, 50):
        told.update(amount)
    assert bar.done == 100
