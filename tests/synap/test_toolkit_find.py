"""Looking for the toolkit, on a PATH with stand-ins or with nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.synap.toolkit_find import Toolkit, find_toolkit

IMAGE = "ghcr.io/synaptics-synap/toolkit:3.2.0"


def test_nothing_there(stand_ins: Any) -> None:
    search = find_toolkit("auto", IMAGE)
    assert search.found is None
    assert search.looked_at == (
        "synap_convert: not on the PATH",
        "docker: not on the PATH",
        "podman: not on the PATH",
    )
    assert f"docker pull {IMAGE}" in search.hint
    assert search.explanation.count("\n") == 2


def test_not_looked_for(stand_ins: Any) -> None:
    stand_ins.converter()
    search = find_toolkit("none", IMAGE)
    assert search.found is None
    assert "because the recipe says" in search.explanation


def test_the_converter(stand_ins: Any) -> None:
    path = stand_ins.converter()
    for mode in ("auto", "native"):
        search = find_toolkit(mode, IMAGE)
        assert search.found == Toolkit("native", path, "3.2.0")
        assert search.looked_at == (f"{path}: version 3.2.0",)
    assert search.found is not None
    assert search.found.identity == "native:3.2.0"
    assert str(search.found) == f"synap_convert 3.2.0 ({path})"


def test_native_only_means_native_only(stand_ins: Any) -> None:
    stand_ins.engine("docker")
    search = find_toolkit("native", IMAGE)
    assert search.found is None
    assert search.looked_at == ("synap_convert: not on the PATH",)


def test_container_only_means_container_only(stand_ins: Any) -> None:
    stand_ins.converter()
    assert find_toolkit("container", IMAGE).found is None


def test_the_name_synap_is_not_trusted(stand_ins: Any) -> None:
    path = stand_ins.converter("synap")
    search = find_toolkit("native", IMAGE)
    assert search.found is None
    assert f"({path} is: the toolkit's help or an unrelated project" in search.explanation


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("other_program", "printed 'synap_convert 1.0, a tool for something else', not a bare"),
        ("silent_version", "printed '', not a bare version"),
        ("broken_version", "--version failed with exit code 1: ModuleNotFoundError"),
    ],
)
def test_a_program_that_is_not_the_converter(stand_ins: Any, how: str, said: str) -> None:
    stand_ins.converter()
    stand_ins.fail(how)
    stand_ins.engine("podman")
    search = find_toolkit("auto", IMAGE)
    assert said in search.looked_at[0]
    assert search.found is not None
    assert search.found.program.name == "podman", "the next place is looked at"


def test_a_file_that_cannot_be_run(stand_ins: Any) -> None:
    path = stand_ins.bin / "synap_convert"
    path.write_bytes(b"\x7fELF but not really")
    path.chmod(0o755)
    search = find_toolkit("native", IMAGE)
    assert search.found is None
    assert f"{path}: " in search.explanation


def test_a_converter_that_does_not_answer(stand_ins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.synap.toolkit_find._VERSION_SECONDS", 0.5)
    path = stand_ins.bin / "synap_convert"
    path.write_text(f"#!/bin/sh\nexec {shutil.which('sleep', path='/bin:/usr/bin')} 600\n")
    path.chmod(0o755)
    assert "did not answer within 0.5 s" in find_toolkit("native", IMAGE).explanation


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_engine_with_the_image(stand_ins: Any, name: str) -> None:
    path = stand_ins.engine(name)
    search = find_toolkit("auto", IMAGE)
    assert search.found == Toolkit("container", path, "3.2.0", IMAGE, "sha256:5ca1ab1e")
    assert search.found.identity == "container:sha256:5ca1ab1e"
    assert str(search.found) == f"{IMAGE} ({name})"


def test_an_engine_without_the_image(stand_ins: Any) -> None:
    stand_ins.engine("docker", image=None)
    search = find_toolkit("container", IMAGE)
    assert search.found is None
    assert f"docker: has no image {IMAGE} (engine: Error: No such image" in search.explanation


def test_an_engine_that_does_not_answer(stand_ins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.engine("docker")
    stand_ins.fail_engine("down")
    search = find_toolkit("container", IMAGE)
    assert "docker: does not answer: Cannot connect to the daemon" in search.explanation
    stand_ins.fail_engine("hang")
    monkeypatch.setattr("pipeline.synap.toolkit_find._ENGINE_SECONDS", 0.5)
    assert "docker: did not answer within 0.5 s" in find_toolkit("container", IMAGE).explanation


def test_this_machines_own_engines_get_an_answer_or_a_reason(tmp_path: Path) -> None:
    """The real PATH, whatever is on it: an image of this name is nowhere, and is not pulled."""
    image = "localhost/no-such-image-of-a-test:1"
    search = find_toolkit("container", image)
    assert search.found is None
    assert [line.split(":")[0] for line in search.looked_at] == ["docker", "podman"]


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("toolkit:3.1.0", "3.1.0"),
        ("toolkit", "latest"),
        ("localhost:5000/toolkit", "latest"),
        ("localhost:5000/toolkit:3", "3"),
        ("toolkit@sha256:abc", "sha256:abc"),
        ("toolkit:3.2.0@sha256:abc", "sha256:abc"),
    ],
)
def test_what_an_images_name_claims(stand_ins: Any, image: str, version: str) -> None:
    stand_ins.engine("docker", image=image)
    found = find_toolkit("container", image).found
    assert found is not None
    assert found.version == version


@pytest.mark.parametrize("image", ["", "--privileged", "a b", "a;b", "a\nb", "$(x)"])
def test_what_is_no_images_name(stand_ins: Any, image: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a container image"):
        find_toolkit("auto", image)
