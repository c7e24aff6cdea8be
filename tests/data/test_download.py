"""Against a real HTTP server on loopback."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.download import Downloaded, Remote, download, download_missing
from pipeline.errors import MissingError, StageError
from pipeline.progress import Bar, Silent

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = os.urandom(len(CONTENT))
WAITS = (0.0, 0.0, 0.0)
Serve = Callable[[bytes], Any]


def remote(url: str, published: bool = True, **changes: Any) -> Remote:
    known: dict[str, Any] = {"sha256": SHA256, "published": "a test", "size": len(CONTENT)}
    return Remote(name="x.bin", url=url, **{**(known if published else {}), **changes})


def get(it: Remote, progress: Any = None) -> Downloaded:
    return download(it, progress or Silent(), WAITS)


def left(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"x.bin.lock"}


@pytest.fixture
def server(serve_file: Serve) -> Any:
    return serve_file(CONTENT)


def test_a_file_is_downloaded_once(cache: Path, server: Any) -> None:
    done = get(remote(server.url))
    assert done.path == cache / "x.bin" and done.path.read_bytes() == CONTENT
    assert (done.sha256, done.evidence) == (SHA256, "as published (a test)")
    assert left(cache) == {"x.bin"}
    assert get(remote(server.url)) == done
    assert len(server.asked) == 1


def test_a_dropped_connection_goes_on_where_it_broke(cache: Path, server: Any) -> None:
    server.answers = [server.serve(sent=1_000_000), server.serve(sent=500_000), server.hang_up()]
    notes = Silent()
    assert get(remote(server.url), notes).path.read_bytes() == CONTENT
    ranges = [asked.range for asked in server.asked]
    assert ranges == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500000-"]
    assert [asked.if_range for asked in server.asked] == [None, '"1"', '"1"', '"1"']
    assert any("broke off" in note and "2 MB are there" in note for note in notes.notes)


def test_a_killed_run_goes_on_too(cache: Path, server: Any) -> None:
    gate = threading.Event()
    server.answers = [server.serve(sent=1_000_000), lambda handler: gate.wait(60)]
    code = (
        "from pipeline.data.download import *\n"
        "from pipeline.progress import Silent\n"
        f"download(Remote('x.bin', {server.url!r}, {SHA256!r}, 'a test', {len(CONTENT)}), Silent())"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    while len(server.asked) < 2:
        assert child.poll() is None
        threading.Event().wait(0.02)
    child.kill()
    child.wait()
    gate.set()
    assert "x.bin" not in left(cache) and (cache / "x.bin.partial").stat().st_size == 1_000_000
    get(remote(server.url))
    assert server.asked[-1].range == "bytes=1000000-"
    assert left(cache) == {"x.bin"}


def test_a_server_that_ignores_ranges_is_read_from_the_start(cache: Path, server: Any) -> None:
    server.answers = [server.serve(sent=2_000_000), server.serve(ranges=False)]
    notes = Silent()
    assert get(remote(server.url), notes).path.read_bytes() == CONTENT
    assert any("does not resume" in note for note in notes.notes)


def test_a_file_that_changed_meanwhile_is_read_from_the_start(cache: Path, server: Any) -> None:
    def replace(handler: Any) -> None:
        server.content, server.headers = CONTENT, {"ETag": '"2"'}
        server.serve()(handler)

    server.content = OTHER
    server.answers = [server.serve(sent=1_000_000), replace]
    assert get(remote(server.url, published=False)).sha256 == SHA256


@pytest.mark.parametrize("tag", ['"2"', 'W/"1"'])
def test_a_piece_of_another_version_is_not_joined(cache: Path, server: Any, tag: str) -> None:
    """The server ignores If-Range, but its answer names the version."""
    server.answers = [
        server.serve(sent=1_000_000),
        server.serve(content=OTHER, ETag=tag, Last_Modified="Sat, 01 Jan 2022 00:00:00 GMT"),
    ]
    assert get(remote(server.url, published=False)).sha256 == SHA256
    assert [asked.range for asked in server.asked] == [None, "bytes=1000000-", None]


@pytest.mark.parametrize(
    "place", ["bytes 5-9/10", "bytes */9", "rubbish", "bytes 0-2999999/3000000"]
)
def test_a_piece_that_was_not_asked_for(cache: Path, server: Any, place: str) -> None:
    server.answers = [server.serve(sent=1_000_000), server.serve(Content_Range=place)]
    assert get(remote(server.url)).path.read_bytes() == CONTENT


def test_pieces_that_do_not_make_the_file_are_thrown_away(cache: Path, server: Any) -> None:
    server.answers = [server.serve(sent=1_000_000, content=OTHER)]
    notes = Silent()
    assert get(remote(server.url), notes).path.read_bytes() == CONTENT
    assert any("do not make the file" in note for note in notes.notes)


def test_without_a_version_pieces_are_joined_only_if_the_digest_is_known(
    cache: Path, server: Any
) -> None:
    server.headers = {}
    server.answers = [server.serve(sent=1_000_000)]
    get(remote(server.url, published=False))
    assert [asked.range for asked in server.asked] == [None, None]
    (cache / "x.bin").unlink()
    server.answers = [server.serve(sent=1_000_000)]
    get(remote(server.url))
    assert server.asked[-1].range == "bytes=1000000-"


def test_a_date_names_a_version_as_well(cache: Path, server: Any) -> None:
    date = "Sat, 01 Jan 2022 00:00:00 GMT"
    server.headers = {"ETag": 'W/"1"', "Last-Modified": date}
    server.answers = [server.serve(sent=1_000_000)]
    get(remote(server.url, published=False))
    assert server.asked[-1].if_range == date


def test_a_complete_part_is_recognised(cache: Path, server: Any) -> None:
    cache.mkdir()
    (cache / "x.bin.partial").write_bytes(CONTENT)
    assert get(remote(server.url)).path.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [OTHER, OTHER + b"more"])
def test_a_foreign_part_does_no_harm(cache: Path, server: Any, content: bytes) -> None:
    cache.mkdir()
    (cache / "x.bin.partial").write_bytes(content)
    (cache / "x.bin.partial.json").write_text("[")
    assert get(remote(server.url)).path.read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_not_kept(cache: Path, server: Any) -> None:
    server.content = OTHER
    with pytest.raises(StageError, match=f"not {SHA256} \\(a test\\)") as caught:
        get(remote(server.url, by_hand="get it by post"))
    assert caught.value.where == server.url and "get it by post" in caught.value.hint
    assert left(cache) == set() and len(server.asked) == 1


@pytest.mark.parametrize("content", [b"<html>log in</html>", CONTENT + b"x"])
def test_another_length_is_refused_at_once(cache: Path, server: Any, content: bytes) -> None:
    for length in (True, False):
        server.answers = [server.serve(content=content, length=length)] * 20
        with pytest.raises(StageError):
            get(remote(server.url))
        assert left(cache) <= {"x.bin.partial", "x.bin.partial.json"}
    server.answers = [server.serve(content=content)]
    with pytest.raises(StageError, match=f"sends {len(content)} bytes, and not the published"):
        get(remote(server.url))


def test_without_a_published_digest_the_first_is_recorded(cache: Path, server: Any) -> None:
    it = remote(server.url, published=False)
    assert get(it).evidence == "recorded now, on first use; none is published"
    assert get(it).evidence == "as recorded on first use; none is published"
    (cache / "x.bin").unlink()
    server.content = OTHER
    with pytest.raises(StageError, match="recorded when it was first downloaded"):
        get(it)
    server.content = CONTENT
    assert get(it).sha256 == SHA256


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1, "sha256": "abc"}', "[" * 100_000])
def test_a_damaged_record_is_no_licence(cache: Path, server: Any, text: str) -> None:
    get(remote(server.url, published=False))
    (cache / "x.bin.json").write_text(text)
    with pytest.raises(StageError, match="record of the first download is damaged"):
        get(remote(server.url, published=False))


def test_a_file_that_was_damaged_in_the_cache_is_downloaded_again(cache: Path, server: Any) -> None:
    for published in (True, False):
        get(remote(server.url, published))
        (cache / "x.bin").write_bytes(b"damaged")
        notes = Silent()
        assert get(remote(server.url, published), notes).path.read_bytes() == CONTENT
        assert "is not what it was" in notes.notes[0]


def test_busy_servers_are_asked_again(cache: Path, server: Any) -> None:
    server.answers = [server.status(503, Retry_After="0"), server.status(429), server.hang_up()]
    get(remote(server.url))
    assert len(server.asked) == 4


def test_but_not_for_ever(cache: Path, server: Any) -> None:
    server.answers = [server.status(503)] * 50
    with pytest.raises(StageError, match=r"the server is busy \(503\)"):
        get(remote(server.url))
    assert len(server.asked) == len(WAITS) + 1


def test_what_arrived_is_kept_when_it_gives_up(cache: Path, server: Any) -> None:
    server.answers = [server.serve(sent=1_000_000), *[server.hang_up()] * 4]
    with pytest.raises(StageError, match="the download failed"):
        get(remote(server.url))
    get(remote(server.url))
    assert server.asked[-1].range == "bytes=1000000-"


@pytest.mark.parametrize("portal", [{}, {"ETag": "", "Content_Type": "text/html"}])
def test_another_file_in_its_place_costs_nothing_that_arrived(
    cache: Path, server: Any, portal: dict[str, str]
) -> None:
    """A captive portal answers 200 with a page of its own."""
    server.answers = [server.serve(sent=2_000_000), *[server.hang_up()] * 4]
    with pytest.raises(StageError, match="the download failed"):
        get(remote(server.url))
    server.answers = [server.serve(content=b"<html>log in</html>", ranges=False, **portal)]
    notes = Silent()
    with pytest.raises(StageError, match="sends 19 bytes, and not the published") as caught:
        get(remote(server.url), notes)
    assert "what has arrived is kept" in caught.value.hint
    assert (cache / "x.bin.partial").read_bytes() == CONTENT[:2_000_000]
    assert not any("starting again" in note for note in notes.notes)
    assert get(remote(server.url)).path.read_bytes() == CONTENT
    assert (server.asked[-1].range, server.asked[-1].if_range) == ("bytes=2000000-", '"1"')


def test_a_piece_of_a_file_of_another_length_costs_nothing_either(cache: Path, server: Any) -> None:
    place = "bytes 1000000-4999999/5000000"
    server.answers = [server.serve(sent=1_000_000), server.serve(Content_Range=place)]
    with pytest.raises(StageError, match="sends 5000000 bytes, and not the published"):
        get(remote(server.url))
    assert (cache / "x.bin.partial").read_bytes() == CONTENT[:1_000_000]


def test_what_is_thrown_away_is_not_said_to_be_kept(cache: Path, server: Any) -> None:
    """Without a length in its head the answer shows only at its end that it is too long."""
    server.answers = [server.serve(content=CONTENT + b"x", length=False)]
    with pytest.raises(StageError, match=f"sends more than {len(CONTENT)} bytes") as caught:
        get(remote(server.url))
    assert left(cache) == set()
    assert "run again" in caught.value.hint and "kept" not in caught.value.hint


@pytest.mark.parametrize("code", [401, 403, 404, 410, 400, 501])
def test_a_refusal_is_not_repeated(cache: Path, server: Any, code: int) -> None:
    server.answers = [server.status(code)]
    with pytest.raises(StageError, match=f"the server answers {code}"):
        get(remote(server.url))
    assert len(server.asked) == 1 and left(cache) == set()


def test_redirects_are_followed_with_the_range(cache: Path, server: Any, serve_file: Serve) -> None:
    front = serve_file(b"")
    front.answers = [front.status(302, Location=server.url), front.status(307, Location=server.url)]
    server.answers = [server.serve(sent=1_000_000)]
    assert get(remote(front.url)).path.read_bytes() == CONTENT
    assert [asked.range for asked in server.asked] == [None, "bytes=1000000-"]


def test_redirects_in_a_circle_and_out_of_http(cache: Path, server: Any, tmp_path: Path) -> None:
    server.answers = [server.status(302, Location=server.url)] * 30
    with pytest.raises(StageError, match="the server answers 302"):
        get(remote(server.url))
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for place in (secret.as_uri(), "ftp://127.0.0.1/x", "data:,x"):
        server.answers = [server.status(302, Location=place)]
        with pytest.raises(StageError, match=r"not safe|not allowed"):
            get(remote(server.url))
    assert left(cache) == set()


def test_https_is_not_left_for_http() -> None:
    import urllib.error
    import urllib.request
    from email.message import Message

    from pipeline.data.transfer import _Redirects

    handler, request = _Redirects(), urllib.request.Request("https://a.test/x")
    with pytest.raises(urllib.error.HTTPError, match="not safe"):
        handler.redirect_request(request, None, 302, "Found", Message(), "http://a.test/x")
    onward = handler.redirect_request(request, None, 302, "", Message(), "https://b.test/y")
    assert onward is not None and onward.full_url == "https://b.test/y"


def test_an_answer_that_is_no_http(cache: Path, server: Any) -> None:
    server.answers = [lambda handler: handler.wfile.write(b"\x00\xff rubbish\r\n\r\n")] * 9
    with pytest.raises(StageError, match="the download failed"):
        get(remote(server.url))


@pytest.mark.parametrize(
    "url", ["http://name.invalid/x", "nonsense", "http://", "http://[", "http://127.0.0.1:1/x"]
)
def test_addresses_that_lead_nowhere(cache: Path, url: str) -> None:
    with pytest.raises(StageError, match="the download failed") as caught:
        get(remote(url))
    assert "https_proxy" in caught.value.hint


@pytest.mark.parametrize("variable", ["PIPELINE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(cache: Path, server: Any, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(MissingError, match=f"{variable} forbids downloads"):
        get(remote(server.url))
    (thing,) = download_missing(remote(server.url))
    assert thing.what.startswith("x.bin is not in the cache")
    assert server.asked == []
    monkeypatch.setenv(variable, "0")
    assert download_missing(remote(server.url)) == []
    get(remote(server.url))
    monkeypatch.setenv(variable, "True")
    assert get(remote(server.url)).sha256 == SHA256
    assert download_missing(remote(server.url)) == []


def test_the_proxy_of_the_environment_is_used(
    cache: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    get(remote("http://name.invalid/file"))
    assert [asked.path for asked in server.asked] == ["http://name.invalid/file"]


def test_more_than_the_disk_holds_is_missing_before(cache: Path, server: Any) -> None:
    (thing,) = download_missing(remote(server.url, size=1 << 60))
    assert thing.what.startswith("room for a download of") and "PIPELINE_CACHE" in thing.hint


def test_a_cache_that_cannot_be_written(
    cache: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file")
    with pytest.raises(StageError, match="the cache of downloads cannot be used") as caught:
        get(remote(server.url))
    assert "PIPELINE_CACHE" in caught.value.hint


def test_a_full_disk_is_said_to_be_one(cache: Path, server: Any) -> None:
    cache.mkdir()
    (cache / "x.bin.partial").symlink_to("/dev/full")
    with pytest.raises(StageError, match="No space left on device"):
        get(remote(server.url))


def test_two_runs_at_once_download_once(cache: Path, server: Any) -> None:
    gate = threading.Event()
    server.answers = [server.serve(gate=gate)]
    code = (
        "from pipeline.data.download import *\n"
        "from pipeline.progress import Silent\n"
        "class Loud(Silent):\n"
        "    def note(self, text): print(text, flush=True)\n"
        f"it = Remote('x.bin', {server.url!r}, {SHA256!r}, 'a test', {len(CONTENT)})\n"
        "print(download(it, Loud()).sha256, flush=True)\n"
    )
    argv = [sys.executable, "-c", code]
    first = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    while not server.asked:
        assert first.poll() is None
        threading.Event().wait(0.02)
    second = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert "another run is at it" in second.stdout.readline()
    gate.set()
    assert first.communicate()[0].split() == [SHA256]
    assert second.communicate()[0].split() == [SHA256]
    assert len(server.asked) == 1


class Counting(Silent):
    """Adds up what the bar is told."""

    total = told = 0.0

    def bar(self, text: str, total: float) -> Any:
        from contextlib import contextmanager

        counting = self

        class Told:
            def advance(self, amount: float = 1.0) -> None:
                assert amount > 0
                counting.told += amount

        @contextmanager
        def shown() -> Any:
            counting.total = total
            bar: Bar = Told()
            yield bar

        return shown()


def test_the_bar_ends_at_its_total_however_it_went(cache: Path, server: Any) -> None:
    for answers in (
        [],
        [server.serve(sent=1_000_000)],
        [server.serve(sent=2_000_000), server.serve(sent=1_000_000, ranges=False)],
    ):
        server.answers = answers
        progress = Counting()
        get(remote(server.url), progress)
        assert progress.total == progress.told == len(CONTENT)
        (cache / "x.bin").unlink()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.data.cache import cache_folder

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PIPELINE_CACHE", raising=False)
    for xdg in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert cache_folder() == tmp_path / "home/.cache/synap-pipeline"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/synap-pipeline"
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
