"""A hub of our own on loopback, and the client's answers to it from processes of their own."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(pipeline.__file__).parents[1]


@dataclass
class Hub:
    """What the server has and how it misbehaves. Files are `repository/file` -> bytes."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    sent_instead: dict[str, bytes] = field(default_factory=dict)
    """Bytes to send in place of the declared ones."""
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Repository -> status and error code of every answer about it."""
    declared_size: int | None = None
    drop_after: list[int] = field(default_factory=list)
    """One entry for a transfer: bytes after which the connection is dropped."""
    large_files: bool = True
    """Whether files are stored apart, with their sha256 declared and a redirect to them."""
    is_hub: bool = True
    silent: bool = False
    """Whether requests for files wait until the test is over."""
    over: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: object) -> None:
            return

        def _answer(self, body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            if self.path.startswith("/store/"):
                self._send_file(self.path.removeprefix("/store/"), body)
            else:
                self._resolve(body)

        def _resolve(self, body: bool) -> None:
            repository, _, rest = self.path.strip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            name = f"{repository}/{file}"
            if rest and hub.silent:
                hub.over.wait()
            if repository in hub.status:
                status, code = hub.status[repository]
                self._plain(status, {"X-Error-Code": code} if code else {})
            elif not any(known.startswith(f"{repository}/") for known in hub.files):
                self._plain(401, {"X-Error-Code": "RepoNotFound"})
            elif revision not in ("main", COMMIT):
                self._plain(404, {"X-Error-Code": "RevisionNotFound"})
            elif name not in hub.files:
                self._plain(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            elif hub.large_files:
                content = hub.files[name]
                port = hub.address.rpartition(":")[2]
                self._plain(
                    302,
                    {
                        # Another name of this host, as the hub sends to another host.
                        "Location": f"http://localhost:{port}/store/{name}",
                        "X-Repo-Commit": COMMIT,
                        "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                        "X-Linked-Size": str(hub.declared_size or len(content)),
                        "ETag": '"of-the-pointer"',
                    },
                )
            else:
                self._send_file(name, body)

        def _send_file(self, name: str, body: bool) -> None:
            content = hub.sent_instead.get(name, hub.files[name])
            start = 0
            asked = self.headers.get("Range")
            if asked:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if asked else 200)
            self.send_header("ETag", '"abc"')
            self.send_header("Content-Length", str(len(content) - start))
            if asked:
                span = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", span)
            if hub.is_hub:
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if not body:
                return
            if hub.drop_after:
                self.wfile.write(content[start : start + hub.drop_after.pop(0)])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self.wfile.write(content[start:])

        def _plain(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A running hub without any file."""
    described = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(described))
    server.daemon_threads = True
    described.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield described
    described.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


Answer = dict[str, Any]
Ask = Callable[..., list[Answer]]


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Ask:
    """Run the steps in a process of its own: the hub's client reads its settings once.

    Each answer has `value` or `error` (its class), `text`, `notes`, `advanced` and `heavy` (which
    of torch and timm were imported by then).
    """

    def run(*steps: Answer, **settings: str) -> list[Answer]:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))},
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "NO_PROXY": "*",
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        program = Path(__file__).with_name("ask_hub.py")
        done = subprocess.run(
            [sys.executable, str(program), json.dumps(steps)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        answers: list[Answer] = json.loads(done.stdout)
        return answers

    return run


def _varint(value: int) -> bytes:
    value %= 2**64
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _block(key: int, content: bytes) -> bytes:
    return _varint(key << 3 | 2) + _varint(len(content)) + content


def checkpoint_value(
    name: bytes, dims: Sequence[int], type: bytes, content: bytes, more: bytes = b""
) -> bytes:
    """One value of a MindSpore checkpoint, as `mindspore.save_checkpoint` writes it.

    `more` is put behind the tensor's fields.
    """
    tensor = b"".join(_varint(1 << 3) + _varint(side) for side in dims)
    tensor += _block(2, type) + _block(3, content) + more
    return _block(1, _block(1, name) + _block(2, tensor))


def mindcv_shapes(classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """The tensors of MindCV's model, from a list of its layers that MindSpore itself gave."""
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    shapes: dict[str, tuple[int, ...]] = {}
    for line in Path(__file__).with_name("mindcv_inception_v4.txt").read_text().splitlines():
        layer, form = line.split()
        dims = tuple(int(side) for side in form.split("x"))
        if layer == "classifier":
            shapes |= {"classifier.weight": (classes, dims[1]), "classifier.bias": (classes,)}
        else:
            shapes[f"{layer}.conv.weight"] = dims
            shapes |= {f"{layer}.bn.{name}": dims[:1] for name in norm}
    return shapes


@pytest.fixture(scope="session")
def ckpt() -> Any:
    """What writes MindSpore's checkpoints: `block`, `value` and `file`; and the `shapes` of the
    tensors in MindCV's."""

    def file(path: Path, state: Mapping[str, Any]) -> Path:
        """A checkpoint of float32 tensors."""
        with path.open("wb") as stream:
            for name, tensor in state.items():
                content = tensor.numpy().tobytes()
                stream.write(checkpoint_value(name.encode(), tensor.shape, b"Float32", content))
        return path

    return SimpleNamespace(block=_block, value=checkpoint_value, file=file, shapes=mindcv_shapes)
