"""An artifact run on images in shards, by several processes: of this machine or of a Dask cluster.

A shard is a range of the images that begins at a whole number of batches, so that a runner is
given the very batches it gets in one process. On CPUs of one kind the logits are then the same to
the bit for the same threads a session, and with ONNX Runtime and LiteRT for any number of them, as
was found with Inception V4. PyTorch with other threads, and float32 on CPUs of another kind, differ
in the last bits (by 1e-4 of the largest logit there).

joblib distributes, with its `loky` processes here and with its Dask backend on a cluster. What a
worker needs to have is in `shard_worker.py`.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import Missing, StageError, UsageError
from pipeline.evaluation.run_artifact import BATCH, Advance, Subject
from pipeline.evaluation.shard_worker import Failed, run_shard, tools_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

LARGEST = 16 * BATCH
"""Images of a shard, at most: half a minute of Inception V4, beside which opening it is little."""


@dataclass(frozen=True)
class Engine:
    """Where images are run. Raises UsageError for words that do not go together."""

    kind: Literal["local", "dask"] = "local"
    scheduler: str = ""
    """Address of the Dask scheduler, such as `tcp://host:8786`."""
    workers: int = 1
    """Processes on this machine. A cluster has as many as were started for it."""

    def __post_init__(self) -> None:
        if self.kind == "dask" and not self.scheduler:
            raise UsageError(
                "needs the address of the scheduler",
                where="--engine dask",
                hint="give it with --scheduler, such as --scheduler tcp://host:8786",
            )
        if self.kind == "local" and self.scheduler:
            raise UsageError(
                "is only for a Dask cluster", where="--scheduler", hint="add --engine dask"
            )
        if self.workers < 1 or (self.kind == "dask" and self.workers != 1):
            raise UsageError(
                f"{self.workers} workers",
                where=f"--engine {self.kind}",
                hint="local takes one or more; a Dask cluster has those that were started",
            )


HERE = Engine()
"""This process alone, with all threads in one session: as fast as
processes on one machine within a few percent, and holds the model once."""


def engine_missing(engine: Engine) -> list[Missing]:
    """The package that the engine needs, where it is not installed."""
    if engine.kind == "local" or find_spec("distributed") is not None:
        return []
    return [
        Missing(
            "the package `distributed`, which --engine dask needs",
            "install it: .venv/bin/pip install -c constraints.txt '.[dask]'",
        )
    ]


def shard_ranges(images: int, workers: int) -> list[tuple[int, int]]:
    """Contiguous ranges of at most LARGEST images that begin at multiples of BATCH, alike in size,
    as many as keep all workers busy to the end where there are enough batches."""
    batches = math.ceil(images / BATCH)
    rounds = math.ceil(images / (workers * LARGEST))
    size = BATCH * math.ceil(batches / (rounds * workers))
    return [(start, min(start + size, images)) for start in range(0, images, size)]


def logits_in_shards(
    engine: Engine, subject: Subject, samples: "Samples", threads: int, advance: Advance
) -> "NDArray[np.float32]":
    """Logits `[N, C]`, in order. The processes of this machine share `threads`; on a cluster each
    thread of a worker runs a shard of its own, with one thread.

    Raises PipelineErrors of a worker as they were raised there, MissingError where Dask is not
    installed, and StageError for a cluster that cannot be reached or has no worker, and for
    workers that died.
    """
    import numpy as np
    from joblib import Parallel, delayed

    artifact = replace(subject.artifact, path=subject.artifact.path.absolute())
    subject = replace(subject, artifact=artifact)
    tools = tools_of(artifact.format)
    parts: list[NDArray[np.float32]] = []
    with _workers(engine) as (backend, workers):
        each = max(1, threads // workers) if engine.kind == "local" else 1
        parallel = Parallel(workers, backend=backend, return_as="generator", batch_size=1)
        tasks = (
            delayed(run_shard)(subject, samples.part(*ends), each, tools)
            for ends in shard_ranges(len(samples), workers)
        )
        try:
            with closing(parallel(tasks)) as results:
                for logits in results:
                    parts.append(logits)
                    advance(len(logits))
        except Failed as failed:
            raise failed.error() from None
    return np.concatenate(parts)


def _workers(engine: Engine) -> AbstractContextManager[tuple[Any, int]]:
    """joblib's backend, and how many shards it runs at a time."""
    if engine.kind == "local":
        return _processes(engine.workers)
    from pipeline.evaluation.dask_cluster import dask_workers

    return dask_workers(engine.scheduler, engine_missing(engine))


@contextmanager
def _processes(count: int) -> Iterator[tuple[Any, int]]:
    from concurrent.futures import BrokenExecutor

    try:
        yield "loky", count
    except BrokenExecutor as error:
        raise StageError(
            "one of the processes was ended from outside, mostly for want of memory",
            where=f"{count} workers on this machine",
            hint="use fewer",
        ) from error
