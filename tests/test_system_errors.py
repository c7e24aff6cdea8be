"""The system's refusals in words; that they come from a real full disk is in test_bad_input.py."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import StageError, UsageError
from pipeline.system_errors import system_errors_explained

FULL = OSError(errno.ENOSPC, "No space left on device")


def wrapped() -> None:
    try:
        raise FULL
    except OSError as error:
        raise RuntimeError("the library could not write") from error


def wrapped_by_us() -> None:
    try:
        raise FULL
    except OSError as error:
        raise StageError("the model could not be written") from error


def raise_it(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def explained(body: Callable[[], None]) -> None:
    with system_errors_explained("quantize", Path("/results")):
        body()


@pytest.mark.parametrize(
    "body",
    [
        raise_it(FULL),
        raise_it(OSError(errno.EDQUOT, "Disk quota exceeded")),
        raise_it(RuntimeError("PytorchStreamWriter failed: No space left on device")),
        wrapped,
        wrapped_by_us,
    ],
)
def test_a_full_disk(body: Callable[[], None]) -> None:
    with pytest.raises(StageError, match="the disk is full; nothing half made") as caught:
        explained(body)
    assert caught.value.where == "quantize"
    assert "make room on the disk of /results" in caught.value.hint


def test_too_little_memory() -> None:
    with pytest.raises(StageError, match="quantize: there is not enough memory"):
        explained(raise_it(MemoryError()))


def test_other_errors_of_the_system() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/results/x")
    with pytest.raises(StageError, match=r"quantize: .*Permission denied: '/results/x'"):
        explained(raise_it(error))


@pytest.mark.parametrize("error", [UsageError("x"), StageError("y"), ValueError("z")])
def test_what_is_not_the_systems_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        explained(raise_it(error))
    assert caught.value is error


def test_an_interruption_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        explained(raise_it(KeyboardInterrupt()))
