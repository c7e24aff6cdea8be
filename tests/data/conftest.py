import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[..., Path]


def picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


@pytest.fixture
def write(folder: Path) -> Writer:
    """Writes a picture (by its seed) or given bytes as an image file below `folder`."""

    def write_file(id: str, content: bytes | int) -> Path:
        path = folder / id
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            ending = "JPEG" if path.suffix.lower() in (".jpeg", ".jpg") else "PNG"
            content = encoded(picture(content), ending)
        path.write_bytes(content)
        return path

    return write_file


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return encoded


@dataclass
class Asked:
    """A request that the server got."""

    path: str
    range: str | None
    if_range: str | None


class FileServer:
    """A real HTTP server of one file, on loopback, that can be told to misbehave.

    `answers` are taken one for each request; without any left it serves the file, whole or by
    range. Each is a function of the handler, or one of the methods below.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.headers = {"ETag": '"1"'}
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with owner._lock:
                    owner.asked.append(
                        Asked(self.path, self.headers["Range"], self.headers["If-Range"])
                    )
                    answer = owner.answers.pop(0) if owner.answers else owner.serve()
                answer(self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                return

        class Http(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A connection that was hung up on purpose is nothing to print."""

        self.http = Http(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.url = f"{self.address}/file"

    def serve(
        self,
        sent: int | None = None,
        ranges: bool = True,
        content: bytes | None = None,
        length: bool = True,
        gate: threading.Event | None = None,
        **headers: str,
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        """The file; at most `sent` bytes of it before the connection is closed."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            whole = self.content if content is None else content
            start, asked = 0, handler.headers["Range"]
            same = handler.headers["If-Range"] in (None, self.headers.get("ETag"))
            if asked and ranges and same:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(whole) and start:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(whole)}")
                handler.end_headers()
                return
            body = whole[start:]
            handler.send_response(206 if start else 200)
            every = dict(self.headers)
            if length:
                every["Content-Length"] = str(len(body))
            if start:
                every["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            every.update({name.replace("_", "-"): value for name, value in headers.items()})
            for name, value in every.items():
                handler.send_header(name, value)
            handler.end_headers()
            if gate is not None:
                gate.wait(60)
            handler.wfile.write(body if sent is None else body[:sent])

        return answer

    def status(self, code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
        """An answer without a file."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(code)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", "5")
            handler.end_headers()
            handler.wfile.write(b"sorry")

        return answer

    def hang_up(self) -> Callable[[BaseHTTPRequestHandler], None]:
        """No answer at all."""
        return lambda handler: handler.connection.close()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve_file() -> Iterator[Callable[[bytes], FileServer]]:
    servers: list[FileServer] = []

    def start(content: bytes) -> FileServer:
        servers.append(FileServer(content))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloads, with the net allowed."""
    path = tmp_path / "cache"
    monkeypatch.setenv("PIPELINE_CACHE", str(path))
    for name in ("PIPELINE_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return path
