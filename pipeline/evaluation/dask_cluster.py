"""The workers of a Dask cluster as a backend of joblib. Imported only where one is used."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

from pipeline import __version__
from pipeline.errors import Missing, MissingError, StageError

SECONDS = 10
"""How long a scheduler may take to answer, and its first worker to come."""


@contextmanager
def dask_workers(scheduler: str, missing: list[Missing]) -> Iterator[tuple[Any, int]]:
    """joblib's backend on the cluster, and the number of its workers' threads.

    Raises MissingError for what is `missing`, and StageError for a scheduler that does not answer,
    a cluster without workers, and a shard whose workers died: after Dask ran it anew on others
    several times.
    """
    if missing:
        raise MissingError(missing)
    from distributed import Client, KilledWorker
    from distributed.comm.core import CommClosedError

    # They write to stderr, with tracebacks, what comes here as an exception.
    for logger in ("distributed", "distributed.client"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    where = f"the Dask cluster {scheduler}"
    connect: Any = Client  # which has no types
    try:
        client: Any = connect(scheduler, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise StageError(
            f"the scheduler cannot be reached ({str(error).splitlines()[0]})",
            where=where,
            hint="check the address, which `dask scheduler` prints when it starts",
        ) from error
    with client:
        backend = _backend(client)
        try:
            workers: int = backend.effective_n_jobs(-1)
        except TimeoutError as error:
            raise StageError(
                "it has no worker",
                where=where,
                hint=f"start one for each core: dask worker {scheduler} --nthreads 1 --nworkers N",
            ) from error
        _require_package(client, where)
        try:
            yield backend, workers
        except KilledWorker as error:
            raise StageError(
                f"{error.allowed_failures + 1} workers died one after another over the same "
                "images, mostly for want of memory",
                where=where,
                hint="give the workers more memory (dask worker --memory-limit), or start fewer "
                "on a machine; their logs say more",
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise StageError(
                f"the connection was lost ({str(error) or type(error).__name__})",
                where=where,
                hint="see whether the scheduler still runs, and run the same command again",
            ) from error


def _require_package(client: Any, where: str) -> None:
    """A worker that cannot even read what it is sent would be waited for without end."""
    found = client.run(resolve_name, "pipeline:__version__", on_error="return")
    for worker, version in found.items():
        if version != __version__:
            has = version if isinstance(version, str) else f"none ({version})"
            raise StageError(
                f"the worker {worker} has not this version of the pipeline, {__version__}, but {has}",
                where=where,
                hint="install it where the workers run, and start them from there",
            )


def _backend(client: Any) -> Any:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        """Without two habits of joblib's own (1.6)."""

        def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
            """joblib would run the work of a cluster of one thread in this very process."""
            return max(2, int(super().configure(n_jobs, parallel, **options)))

        def submit(self, func: Any, callback: Callable[[Any], None]) -> Any:
            """joblib would wait for ever for a task that Dask gives up, because it hears only of
            those that ended in a worker."""

            def tell(done: "Future[Any]") -> None:
                error = done.exception()
                if error is not None:
                    callback(error)  # raised where the result is awaited

            future = super().submit(func, callback)
            future.add_done_callback(tell)
            return future

    return Backend(client=client, wait_for_workers_timeout=SECONDS)
