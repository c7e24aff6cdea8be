"""Find the real SyNAP toolkit: its converter on the PATH, or its container image.

The names mislead: `synap` is the wheel's help text and, on the package registry, an unrelated
project. So the converter is known by what `synap_convert --version` prints, a bare version. A
container engine has to be there, to answer, and to have the image already: nothing is pulled.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import UsageError

Mode = Literal["auto", "native", "container", "none"]
ENGINES = ("docker", "podman")

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?([.+-]?[0-9A-Za-z]+)*")
# Registry, path, tag and digest as the engines accept them; above all, no option and no space.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_VERSION_SECONDS = 120.0
"""The converter imports its libraries before it answers."""
_ENGINE_SECONDS = 30.0


@dataclass(frozen=True)
class Toolkit:
    """A toolkit that can be run."""

    kind: Literal["native", "container"]
    program: Path
    """The converter, or the container engine."""
    version: str
    """What the converter calls itself; of a container, the image's tag or digest, a claim that
    `ToolkitRun.version` can be held against."""
    image: str = ""
    image_id: str = ""
    """The engine's own name for the image's content."""

    @property
    def identity(self) -> str:
        """Changes when the toolkit does; for the key of what it makes."""
        return f"{self.kind}:{self.image_id or self.version}"

    def __str__(self) -> str:
        if self.kind == "native":
            return f"synap_convert {self.version} ({self.program})"
        return f"{self.image} ({self.program.name})"


@dataclass(frozen=True)
class ToolkitSearch:
    """The toolkit, or where it was looked for and why each place did not do."""

    found: Toolkit | None
    looked_at: tuple[str, ...]
    image: str

    @property
    def explanation(self) -> str:
        """Everything that was looked at, one a line."""
        return "\n".join(self.looked_at)

    @property
    def hint(self) -> str:
        """What to do where nothing was found."""
        return (
            f"install docker or podman and run `docker pull {self.image}`, or install the wheel "
            "of github.com/synaptics-synap/toolkit/releases (Ubuntu 22.04, x86-64)"
        )


def find_toolkit(mode: Mode, image: str) -> ToolkitSearch:
    """Look for the toolkit as `mode` says: `auto` on the PATH first, then as a container.

    Not finding it is a value. Raises `UsageError` only for an `image` that is no image's name.
    """
    if not _IMAGE.fullmatch(image):
        raise UsageError(
            f"{image!r} is not the name of a container image",
            hint="for example ghcr.io/synaptics-synap/toolkit:3.2.0",
        )
    looked_at: list[str] = []
    found: Toolkit | None = None
    if mode == "none":
        looked_at.append("no toolkit was looked for, because the recipe says `toolkit: none`")
    if mode in ("auto", "native"):
        found = _find_native(looked_at)
    if found is None and mode in ("auto", "container"):
        found = _find_container(image, looked_at)
    return ToolkitSearch(found, tuple(looked_at), image)


def _find_native(looked_at: list[str]) -> Toolkit | None:
    path = shutil.which("synap_convert")
    if path is None:
        text = "synap_convert: not on the PATH"
        other = shutil.which("synap")
        if other is not None:
            text += f" ({other} is: the toolkit's help or an unrelated project, not the converter)"
        looked_at.append(text)
        return None
    answer = _ask([path, "--version"], _VERSION_SECONDS)
    if isinstance(answer, str):
        looked_at.append(f"{path}: {answer}")
        return None
    printed = answer.stdout.strip()
    if answer.returncode != 0:
        looked_at.append(
            f"{path}: --version failed with exit code {answer.returncode}: {_last_line(answer)}"
        )
        return None
    if not _VERSION.fullmatch(printed):
        looked_at.append(
            f"{path}: --version printed {printed[:60]!r}, not a bare version: another program"
        )
        return None
    looked_at.append(f"{path}: version {printed}")
    return Toolkit("native", Path(path).absolute(), printed)


def _find_container(image: str, looked_at: list[str]) -> Toolkit | None:
    for name in ENGINES:
        path = shutil.which(name)
        if path is None:
            looked_at.append(f"{name}: not on the PATH")
            continue
        answer = _ask([path, "version"], _ENGINE_SECONDS)
        if isinstance(answer, str):
            looked_at.append(f"{name}: {answer}")
            continue
        if answer.returncode != 0:
            looked_at.append(f"{name}: does not answer: {_last_line(answer)}")
            continue
        answer = _ask([path, "image", "inspect", "--format", "{{.Id}}", image], _ENGINE_SECONDS)
        if isinstance(answer, str):
            looked_at.append(f"{name}: {answer}")
            continue
        if answer.returncode != 0 or not answer.stdout.strip():
            looked_at.append(f"{name}: has no image {image} ({_last_line(answer)})")
            continue
        looked_at.append(f"{name}: has the image {image}")
        return Toolkit(
            "container", Path(path).absolute(), _tag(image), image, answer.stdout.split()[0]
        )
    return None


def _ask(argv: list[str], seconds: float) -> subprocess.CompletedProcess[str] | str:
    """What a program answers, or in words why it does not."""
    try:
        return subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not answer within {seconds:g} s"
    except OSError as error:
        return f"cannot be run: {error.strerror}"


def _last_line(answer: subprocess.CompletedProcess[str]) -> str:
    lines = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
    return lines[-1][:200] if lines else f"exit code {answer.returncode}, and nothing was said"


def _tag(image: str) -> str:
    """The tag or digest of an image's name; `latest` where it has none, as the engines say."""
    name, at, digest = image.partition("@")
    if at:
        return digest
    _, colon, tag = name.rsplit("/", 1)[-1].partition(":")
    return tag if colon else "latest"
