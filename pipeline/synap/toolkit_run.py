"""Run the toolkit's converter on files of one folder.

Nothing outside that folder is read or changed. The converter cannot bear spaces in paths, so it
never sees the folder's own: natively it works in a temporary folder, where the folder is a link;
in a container the folder is mounted at `/synap`, alone, without a network and as this user.
"""

import contextlib
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact import atomic_path
from pipeline.errors import StageError
from pipeline.progress import Bar, Progress
from pipeline.synap.logged_process import Finished, run_logged
from pipeline.synap.toolkit_failure import explain
from pipeline.synap.toolkit_find import Toolkit
from pipeline.targets import Target

OUT = "out"
MODEL = "model.synap"
LISTINGS = ("model_info.txt", "quantization_info.yaml", "quantization_entropy.txt")
"""What the converter leaves beside the model; the last two only where it quantized."""
MOUNT = "/synap"

_SHOWN_LINES = 8
_KILL_SECONDS = 30.0
_QUANTIZING = re.compile(r"Quantizing\.\.\. (\d{1,3})%")
# Unbuffered, so that the status comes while it works.
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class ToolkitRun:
    """What a run of the converter left: `<folder>/out/model.synap` and the listings beside it."""

    model: Path
    listings: tuple[Path, ...]
    argv: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class _Job:
    """The files of a run, by their names in the folder."""

    folder: Path
    model: str
    metafile: str | None
    target: Target
    timeout: float
    log: Path
    failure_log: Path

    def arguments(self, inside: str, out: str) -> list[str]:
        """The converter's arguments, with the folder called `inside`."""
        metafile = ["--meta", f"{inside}{self.metafile}"] if self.metafile else []
        return [
            "--model", f"{inside}{self.model}", *metafile,
            "--target", self.target.toolkit_name, "--out-dir", out,
        ]  # fmt: skip


def run_toolkit(
    toolkit: Toolkit,
    folder: Path,
    model: Path,
    metafile: Path | None,
    target: Target,
    *,
    timeout: float,
    log_path: Path,
    failure_log: Path,
    progress: Progress,
) -> ToolkitRun:
    """Compile `model` with `metafile`, both files in `folder`, for at most `timeout` seconds.

    The results go to `<folder>/out`, which must not be there yet; the toolkit's cache and build
    folders are not kept. All output goes to `log_path`, and of a run that fails to `failure_log` as
    well, which is to outlive the folder. Raises `StageError` with the command, how it ended and its
    last lines.
    """
    folder = folder.resolve()
    job = _Job(
        folder=folder,
        model=_name_in(folder, model),
        metafile=None if metafile is None else _name_in(folder, metafile),
        target=target,
        timeout=timeout,
        log=log_path,
        failure_log=failure_log,
    )
    if (folder / OUT).exists():
        raise StageError("the toolkit's results are already there", where=str(folder / OUT))
    run = _run_native if toolkit.kind == "native" else _run_container
    with progress.bar(f"SyNAP toolkit for {target.name}", 100) as bar:
        status = _Status(bar)
        try:
            argv = run(toolkit, job, status.hear)
        except OSError as error:
            raise StageError(f"the toolkit's files cannot be kept: {error}") from None
        status.complete()
    listings = tuple(folder / OUT / name for name in LISTINGS)
    return ToolkitRun(
        folder / OUT / MODEL, tuple(p for p in listings if p.is_file()), tuple(argv), log_path
    )


def _run_native(toolkit: Toolkit, job: _Job, hear: Callable[[str], None]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="synap-", ignore_cleanup_errors=True) as name:
        if any(letter.isspace() for letter in name):
            raise StageError(
                f"the toolkit cannot work in {name}, because of the space",
                hint="set TMPDIR to a folder without spaces in its path",
            )
        work = Path(name)
        (work / "in").symlink_to(job.folder, target_is_directory=True)
        argv = [str(toolkit.program), *job.arguments(f"{name}/in/", f"{name}/{OUT}")]
        finished = run_logged(
            argv, cwd=work, timeout=job.timeout, log_path=job.log, on_line=hear,
            environment=os.environ | _ENVIRONMENT,
        )  # fmt: skip
        _require_model(toolkit, job, argv, finished, work / OUT)
        (job.folder / OUT).mkdir()
        for result in (MODEL, *LISTINGS):
            if (work / OUT / result).is_file():
                shutil.move(work / OUT / result, job.folder / OUT / result)
    return argv


def _run_container(toolkit: Toolkit, job: _Job, hear: Callable[[str], None]) -> list[str]:
    if set(str(job.folder)) & set(',"\n'):
        raise StageError(
            f"a container engine cannot mount {job.folder}, because of the comma or quote",
            hint="move the results to a path without one",
        )
    engine, name = str(toolkit.program), f"synap-{secrets.token_hex(8)}"
    argv = [
        engine, "run", "--rm", "--pull", "never", "--name", name, "--network", "none",
        "--user", f"{os.getuid()}:{os.getgid()}",
        "--mount", f"type=bind,source={job.folder},target={MOUNT}", "--workdir", MOUNT,
        *(part for item in _ENVIRONMENT.items() for part in ("--env", "=".join(item))),
        *_user_mapping(toolkit), toolkit.image_id, "convert", *job.arguments("", OUT),
    ]  # fmt: skip

    def kill() -> None:
        # The engine's client is not the container: ending one leaves the other running.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [engine, "kill", name], capture_output=True, stdin=subprocess.DEVNULL,
                timeout=_KILL_SECONDS, check=False,
            )  # fmt: skip

    finished = run_logged(
        argv, cwd=job.folder, timeout=job.timeout, log_path=job.log, on_line=hear, stop=kill
    )
    out = job.folder / OUT
    _require_model(toolkit, job, argv, finished, out)
    for rest in out.iterdir():
        if rest.is_dir():
            shutil.rmtree(rest, ignore_errors=True)
    return argv


def _user_mapping(toolkit: Toolkit) -> list[str]:
    """Podman without root maps users; this keeps the files this user's."""
    rootless = toolkit.program.name == "podman" and os.getuid() != 0
    return ["--userns", "keep-id"] if rootless else []


def _require_model(
    toolkit: Toolkit, job: _Job, argv: list[str], finished: Finished, out: Path
) -> None:
    """Raise `StageError` unless the run ended well and left a model."""
    model = out / MODEL
    if finished.exit_code == 0 and model.is_file() and model.stat().st_size:
        return
    if finished.exit_code == 0:
        how = f"ended with exit code 0 and left no {MODEL}"
    else:
        how = explain(finished, job.timeout, toolkit.kind == "container")
    lines = "".join(f"\n      {line}" for line in finished.tail[-_SHOWN_LINES:])
    said = f"\n    its last lines:{lines}" if lines else "\n    it said nothing"
    raise StageError(
        f"the toolkit, {toolkit}, {how}\n    command: {shlex.join(argv)}{said}",
        hint=_keep_log(job),
    )


def _keep_log(job: _Job) -> str:
    """Copy the log of a run that failed to where it stays; a line about where that is."""
    try:
        with atomic_path(job.failure_log) as temporary:
            shutil.copyfile(job.log, temporary)
    except OSError as error:
        return f"its output could not be kept in {job.failure_log}: {error.strerror}"
    return f"all of its output is in {job.failure_log}"


def _name_in(folder: Path, path: Path) -> str:
    """The name of a file in `folder`, relative to it, as the toolkit can take it."""
    absolute = path if path.is_absolute() else folder / path
    try:
        name = absolute.parent.resolve().relative_to(folder) / absolute.name
    except ValueError:
        raise StageError(f"{path} is not in {folder}, which is all the toolkit sees") from None
    if not (folder / name).is_file():
        raise StageError("there is no such file", where=str(folder / name))
    if not (folder / name).resolve().is_relative_to(folder):
        raise StageError(f"{path} is a link out of {folder}, which is all the toolkit sees")
    text = name.as_posix()
    if any(letter.isspace() for letter in text) or text.startswith("-"):
        raise StageError(f"the toolkit cannot take a file called {text!r}")
    return text


class _Status:
    """Turns the converter's own status into a bar's."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._percent = 0

    def hear(self, line: str) -> None:
        said = _QUANTIZING.search(line)
        if said:
            self._advance_to(int(said[1]))

    def complete(self) -> None:
        self._advance_to(100)

    def _advance_to(self, percent: int) -> None:
        if self._percent < percent <= 100:
            self._bar.advance(percent - self._percent)
            self._percent = percent
