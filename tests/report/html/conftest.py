"""A run of the tiny model, its page, and a real headless Chromium to look at it.

Chromium is spoken to over its DevTools pipe: no driver and no package is needed.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.engine import TargetResult
from pipeline.engine import run as run_stages
from pipeline.job import Job
from pipeline.progress import Silent
from pipeline.report.html.gather import gather
from pipeline.report.html.view import RunView
from pipeline.report.html.write import write_report
from pipeline.store import Store

INSTALL = (
    "Chromium is not installed, so no page was looked at: `apt-get install chromium` "
    "(or set CHROMIUM to the program)"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
WAIT = 60.0


class Browser:
    """One tab. `problems` are what it has complained of since the page was opened: console errors
    and warnings, exceptions and requests to anywhere."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, write = os.pipe()
        read, from_browser = os.pipe()

        def connect() -> None:
            # Chromium reads commands from 3 and answers on 4. Out of the way first: the pipes'
            # own numbers may be 3 and 4.
            high = [os.dup(to_browser), os.dup(from_browser)]
            high = [os.dup2(fd, 60 + place) for place, fd in enumerate(high)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=connect, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._write, self._read = write, read
        self._buffer, self._number = b"", 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """A command and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        number = self._number
        answer = self._until(lambda got: got.get("id") == number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(
        self, path: Path, width: int, height: int = 900, *, dark: bool = False, media: str = ""
    ) -> None:
        """Load a file in a window of this width; `media` may be `print`."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.problems.clear()
        self._events.clear()
        assert "errorText" not in self.send("Page.navigate", url=path.as_uri()), f"no {path}"
        self._until(lambda got: got.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What an expression gives in the page, as JSON data."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page, however long, as PNG."""
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))

    def pdf(self, path: Path) -> None:
        """The page as printed."""
        data = self.send(
            "Page.printToPDF", preferCSSPageSize=False, paperWidth=8.27, paperHeight=11.7
        )
        path.write_bytes(base64.b64decode(data["data"]))

    def close(self) -> None:
        self._session = None
        with contextlib.suppress(OSError):
            os.write(self._write, b'{"id":0,"method":"Browser.close"}\0')
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _until(self, wanted: Any) -> dict[str, Any]:
        for index, event in enumerate(self._events):
            if wanted(event):
                return self._events.pop(index)
        while True:
            message = self._next()
            self._note(message)
            if wanted(message):
                return message
            if "method" in message:
                self._events.append(message)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + WAIT
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        data: dict[str, Any] = json.loads(message)
        return data

    def _note(self, message: dict[str, Any]) -> None:
        method, data = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
            self.problems.append(data["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and data["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.problems.append(f"console: {data['args']}")
        elif method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {data['exceptionDetails']['text']}")
        elif method == "Network.requestWillBeSent":
            url = data["request"]["url"]
            if not url.startswith(("file:", "data:")):
                self.problems.append(f"request: {url}")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if program is None:
        pytest.skip(INSTALL)
    opened = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@dataclass(frozen=True)
class Run:
    """A finished run in this process, with all that its page is made from."""

    job: Job
    result: TargetResult
    report: Any
    samples: Any
    store: Store

    def view(self) -> RunView:
        return gather(self.job, self.result, self.report, self.samples, self.store, Silent())

    def write(self, folder: Path) -> Path:
        return write_report(
            self.job, self.result, self.report, self.samples, self.store, Silent(), folder
        )

    def pages(self) -> dict[str, int]:
        """The pages that were made, by key, and when."""
        made = (self.store.root / "report").glob("*/report.html")
        return {path.parent.name: path.stat().st_mtime_ns for path in made}


def carry_out(tiny: Path, artifacts: Path, until: str | None, *changes: str) -> Run:
    from pipeline.data.digest_index import DigestIndex
    from pipeline.data.draw import draw_samples
    from pipeline.job import make_job
    from pipeline.report.json_report import build_report
    from pipeline.synap.handover import Handover

    recipe = tiny / "tiny.yaml"
    job = make_job(recipe, "sl1680", until, changes, None, None, artifacts, 2)
    store = Store(job.store_root, lambda text: None)
    index = DigestIndex(job.store_root / "images.json")
    samples = draw_samples(job.recipe.recipe.data, job.data, job.recipe.folder, index, Silent())
    handover = Handover("cpu")
    (result,) = run_stages(job, samples, handover, store, Silent())
    return Run(job, result, build_report(job, result, samples, handover), samples, store)


@pytest.fixture(scope="session")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run with `ranges: auto`. Read only, but for pages in folders of the test's own."""
    artifacts = tmp_path_factory.mktemp("page") / "artifacts"
    return carry_out(
        tiny, artifacts, None, "quantize.ranges=auto",
        "data.selection={dataset: imagenet, images: 12}",
    )  # fmt: skip


@pytest.fixture
def exported(run: Run, tiny: Path) -> Run:
    """A run until `export`, in the same store."""
    return carry_out(tiny, run.job.artifacts, "export", "quantize.ranges={rule: minmax}")


@pytest.fixture
def ruled(run: Run, tiny: Path) -> Run:
    """A run with the range rule in the recipe, in the same store."""
    return carry_out(tiny, run.job.artifacts, "quantize", "quantize.ranges={rule: minmax}")


@pytest.fixture
def came_as_integers(run: Run, tiny: Path, tmp_path: Path) -> Run:
    """A run of the integer TFLite file that the first one made, of which nothing is demanded."""
    (lowered,) = (stage for stage in run.result.stages if stage.name == "lower")
    assert lowered.artifact is not None
    given = yaml.safe_load((tiny / "tiny.yaml").read_text())
    del given["quantize"], given["checks"], given["compile"]
    file = str(lowered.artifact.path)
    given["model"] = {"source": "quantized-tflite", "name": "tiny", "weights": file}
    given["data"]["folder"] = str(tiny / "images")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(given))
    return carry_out(tmp_path, tmp_path / "artifacts", "lower")


@pytest.fixture
def in_folders(tiny: Path, tmp_path: Path) -> Callable[..., Run]:
    """Runs until `export` of the same pictures in class folders, in the same store: how one class
    is called and what the pictures' names begin with are as the test says."""

    def carried_out(fish: str = "first", prefix: str = "") -> Run:
        folder = tmp_path / "by class"
        shutil.rmtree(folder, ignore_errors=True)
        for path in sorted((tiny / "images").iterdir()):
            synset, _, name = path.name.partition("_")
            (folder / synset).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / synset / f"{prefix}{name}")
        lines = sorted(f"{path.name} a fish called {fish}" for path in folder.iterdir())
        (folder / "labels.txt").write_text("\n".join(lines))
        data = [f"data.{name}.dataset=folder" for name in ("calibration", "evaluation")]
        artifacts = tmp_path / "artifacts"
        return carry_out(tiny, artifacts, "export", f"data.folder={folder}", *data)

    return carried_out


@pytest.fixture
def broken(run: Run) -> Run:
    """The run, had its last stage failed."""
    from pipeline.errors import StageError

    failure = StageError("the toolkit failed", where="compile", hint="look at <the> log")
    report = {
        **run.report, "verdict": "FAIL", "failure": str(failure), "compile": None,
        "stages": run.report["stages"][:-1],
    }  # fmt: skip
    result = replace(run.result, stages=run.result.stages[:-1], failure=failure)
    return replace(run, result=result, report=report)
