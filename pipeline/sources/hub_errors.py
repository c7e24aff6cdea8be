"""What went wrong with the Hugging Face hub, translated in one place into what to do about it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from pipeline.errors import StageError

OTHER_WAYS = (
    "give a file you have (WEIGHTS=file or --weights file), set HF_ENDPOINT to a mirror, "
    "or run `make demo`, which needs no download"
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class HubError(StageError):
    """The hub did not give what was asked. `unknown` is set when it knows no such repository."""

    def __init__(self, what: str, *, where: str, hint: str, unknown: bool = False) -> None:
        super().__init__(what, where=where, hint=hint)
        self.unknown = unknown


def client_settings() -> ModuleType:
    """The client's settings, which it reads from the environment when it is first imported.

    Raises HubError where they are so wrong that it cannot be.
    """
    try:
        return import_module("huggingface_hub.constants")
    except ValueError as error:
        endpoint = os.environ.get("HF_ENDPOINT")
        raise HubError(
            f"the hub client does not understand its settings: {error}",
            where=f"HF_ENDPOINT={endpoint}" if endpoint else "the environment",
            hint="correct or unset HF_ENDPOINT and the other variables that begin with HF_",
        ) from error


def unreachable(repository: str, reason: str) -> HubError:
    """The error for a hub that gives no answer of its own."""
    what = f"the hub {client_settings().ENDPOINT} cannot be reached ({reason})"
    return HubError(what, where=repository, hint=OTHER_WAYS)


@contextmanager
def translated(repository: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into HubError, or StageError for the disk's faults.

    A file that the repository does not have stays the client's RemoteEntryNotFoundError.
    """
    settings = client_settings()
    from huggingface_hub import errors

    # The client's HTTP library, which is httpx in its version 1 and httpx2 in its version 2.
    http: Any = import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    try:
        yield
    except (errors.RemoteEntryNotFoundError, StageError):
        raise
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"the repository has no revision '{revision}'",
            where=repository,
            hint="check model.revision, or leave it out for the main branch",
        ) from error
    except errors.HfHubHTTPError as error:
        raise _answer(repository, error) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(
            "HF_HUB_OFFLINE is set, and the hub client's cache does not have these weights",
            where=repository,
            hint=f"unset it, or {OTHER_WAYS}",
        ) from error
    except errors.HFValidationError as error:
        raise HubError(
            f"the hub knows no such name: {error}", where=repository, hint="check model.name"
        ) from error
    except http.InvalidURL as error:
        raise HubError(
            f"HF_ENDPOINT is no address: {settings.ENDPOINT}",
            where=repository,
            hint="unset HF_ENDPOINT or correct it",
        ) from error
    except (http.HTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        raise unreachable(repository, _reason(error.__cause__ or error)) from error
    except OSError as error:
        raise _disk_or_transfer(repository, error) from error
    except (RuntimeError, ValueError) as error:  # of the client's chunked transfer
        raise unreachable(repository, _reason(error)) from error


def no_room(needed: int | None, folder: str, repository: str) -> StageError:
    """The error for a disk without room for `needed` bytes."""
    size = "" if needed is None else f" ({needed / 1e6:.0f} MB are needed)"
    return StageError(
        f"no room on the disk for the download{size}",
        where=repository,
        hint=f"make room at {folder}, or set HF_HOME to a folder on another disk",
    )


def _answer(repository: str, error: Exception) -> HubError:
    """What an HTTP status means. Without a login the hub says 401 of what does not exist, too."""
    from huggingface_hub import errors

    assert isinstance(error, errors.HfHubHTTPError)
    status = error.response.status_code
    gated = isinstance(error, errors.GatedRepoError)
    if status == 404 or (isinstance(error, errors.RepositoryNotFoundError) and not gated):
        return HubError(
            "the hub has no such repository, or hides it from you",
            where=repository,
            hint="check model.name; for a private one log in with `hf auth login` or set HF_TOKEN",
            unknown=True,
        )
    if gated or status in (401, 403):
        return HubError(
            f"the hub does not let you have this repository (status {status})",
            where=repository,
            hint="accept its conditions on its page, then log in with `hf auth login` "
            "or set HF_TOKEN",
        )
    return HubError(
        f"the hub is in trouble (it answered with status {status})",
        where=repository,
        hint=f"try again later, or {OTHER_WAYS}",
    )


def _disk_or_transfer(repository: str, error: OSError) -> StageError:
    settings = client_settings()
    if error.errno in _DISK_FULL:
        return no_room(None, settings.HF_HUB_CACHE, repository)
    if error.errno is None:  # the client's own check of the length
        return HubError(
            f"the download is not whole ({_reason(error)})",
            where=repository,
            hint="run again; what is complete is kept",
        )
    return StageError(
        f"the hub client's cache cannot be written: {error.strerror}",
        where=str(error.filename or settings.HF_HUB_CACHE),
        hint="make the folder writable, or set HF_HOME to another one",
    )


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
