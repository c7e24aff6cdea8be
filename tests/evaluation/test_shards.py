"""Logits made in shards, by processes here and by a real Dask cluster of two."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact import Artifact, digest_of_path
from pipeline.check.judge import judge
from pipeline.data.dataset import BrokenImage, content_digest
from pipeline.data.imagenet import Imagenet
from pipeline.data.npy import open_npy
from pipeline.data.samples import Sample, Samples
from pipeline.errors import Missing, MissingError, StageError, UsageError
from pipeline.evaluation import dask_cluster
from pipeline.evaluation.evaluator import run_on
from pipeline.evaluation.model_content import digest_of_model
from pipeline.evaluation.run_artifact import BATCH, Subject, logits_of
from pipeline.evaluation.shard_worker import Failed, run_shard, tools_of
from pipeline.evaluation.shards import HERE, LARGEST, Engine, logits_in_shards, shard_ranges
from pipeline.progress import Silent
from pipeline.recipe import Thresholds


@pytest.fixture(scope="module")
def images(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """80 files of ten classes."""
    folder = tmp_path_factory.mktemp("shards") / "images"
    folder.mkdir()
    for label, synset in enumerate(lab.SYNSETS):
        for number in range(8):
            lab.picture(label, number).save(folder / f"{synset}_{number}.JPEG")
    dataset = Imagenet(folder)
    items = (
        Sample(item.id, item.label, content_digest(dataset.content(item.id)))
        for item in dataset.listing()
    )
    return Samples("evaluation", dataset, tuple(items))


@pytest.fixture(scope="module")
def subject(trio: Any) -> Subject:
    path: Path = trio.graph
    return Subject(Artifact(path, "onnx", digest_of_path(path), path.stat().st_size), trio.view)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Engine]:
    """Two worker processes of one thread each, and the scheduler they belong to."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as workers:
        yield Engine("dask", workers.scheduler_address)


class Steps:
    """Keeps how a bar advanced."""

    def __init__(self) -> None:
        self.done: list[float] = []

    def __call__(self, amount: float) -> None:
        self.done.append(amount)


# The ranges


@given(st.integers(1, 20_000), st.integers(1, 70))
def test_shards_part_the_images_between_whole_batches(images: int, workers: int) -> None:
    ranges = shard_ranges(images, workers)
    assert ranges[0][0] == 0 and ranges[-1][1] == images
    assert [stop for _, stop in ranges[:-1]] == [start for start, _ in ranges[1:]]
    assert all(start % BATCH == 0 for start, _ in ranges)
    assert all(0 < stop - start <= LARGEST for start, stop in ranges)
    busy = min(workers, -(-images // BATCH))
    assert len(ranges) > busy / 2


@pytest.mark.parametrize(
    ("images", "workers", "sizes"),
    [(1000, 2, [256, 256, 256, 232]), (80, 2, [48, 32]), (5, 8, [5]), (1120, 2, [192] * 5 + [160])],
)
def test_shards_are_alike_and_a_multiple_of_the_workers(
    images: int, workers: int, sizes: list[int]
) -> None:
    assert [stop - start for start, stop in shard_ranges(images, workers)] == sizes


# The engine


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"kind": "dask"}, "--scheduler tcp://"),
        ({"scheduler": "tcp://here:8786"}, "add --engine dask"),
        ({"workers": 0}, "0 workers"),
        ({"kind": "dask", "scheduler": "tcp://here:8786", "workers": 3}, "3 workers"),
    ],
)
def test_words_that_do_not_go_together(words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Engine(**words)
    assert complaint in str(caught.value)


# Processes of this machine


def test_processes_give_the_logits_of_one(images: Samples, subject: Subject) -> None:
    artifact, view = subject.artifact, subject.preprocess
    alone = run_on(artifact, images, view, 2, Silent())
    assert np.ptp(alone, axis=0).min() > 0, "the images are told apart"
    shared = run_on(artifact, images, view, 2, Silent(), engine=Engine(workers=2))
    assert shared.dtype == np.float32
    np.testing.assert_array_equal(shared, alone)


def test_a_part_that_begins_at_a_batch_gives_the_rows_of_the_whole(
    images: Samples, subject: Subject
) -> None:
    artifact, view = subject.artifact, subject.preprocess
    whole = run_on(artifact, images, view, 1, Silent())
    rows = [run_on(artifact, images.part(*ends), view, 1, Silent()) for ends in ((0, 48), (48, 80))]
    np.testing.assert_array_equal(np.concatenate(rows), whole)


def test_a_killed_process_is_an_error_and_the_next_run_goes_well(
    images: Samples, subject: Subject
) -> None:
    engine, steps = Engine(workers=2), Steps()
    with pytest.raises(StageError, match="ended from outside") as caught:
        logits_in_shards(engine, subject, replace(images, dataset=Deadly(images)), 2, Steps())
    assert "use fewer" in caught.value.hint
    logits = logits_in_shards(engine, subject, images, 2, steps)
    assert len(logits) == len(images) and steps.done == [48, 32]


class Deadly(Imagenet):
    """Images that end the process which reads the last of them."""

    def __init__(self, images: Samples) -> None:
        assert isinstance(images.dataset, Imagenet)
        super().__init__(images.dataset.folder)
        self.last = images.items[-1].id

    def content(self, id: str) -> bytes:
        if id == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().content(id)


# What a worker checks, and how it says what is wrong


def test_an_artifact_that_is_elsewhere_or_another(
    images: Samples, subject: Subject, tmp_path: Path
) -> None:
    tools = tools_of("onnx")
    other = replace(subject.artifact, path=tmp_path / "other.onnx")
    with pytest.raises(Failed) as caught:
        run_shard(replace(subject, artifact=other), images, 1, tools)
    assert "is not there for the worker on" in str(caught.value.error())
    other.path.write_bytes(subject.artifact.path.read_bytes() + b"\0")
    with pytest.raises(Failed) as caught:
        run_shard(replace(subject, artifact=other), images, 1, tools)
    error = caught.value.error()
    assert "has another content" in error.what and error.where == str(other.path)


def test_an_artifact_whose_external_data_is_another(
    images: Samples, subject: Subject, tmp_path: Path
) -> None:
    """Its file is the same; the worker has other weights beside it, or none."""
    path, tools = tmp_path / "m.onnx", tools_of("onnx")
    model = onnx.load(subject.artifact.path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    artifact = Artifact(path, "onnx", digest_of_model(path, "onnx"), path.stat().st_size)
    subject, few = replace(subject, artifact=artifact), images.part(0, BATCH)
    assert len(run_shard(subject, few, 1, tools)) == BATCH
    data = tmp_path / "m.data"
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(Failed) as caught:
        run_shard(subject, few, 1, tools)
    assert "has another content for the worker on" in str(caught.value.error())
    data.unlink()
    with pytest.raises(Failed) as caught:
        run_shard(subject, few, 1, tools)
    error = caught.value.error()
    assert "no such file beside it" in error.what and error.where == str(path)


def test_other_versions_are_refused(images: Samples, subject: Subject) -> None:
    with pytest.raises(Failed) as caught:
        run_shard(subject, images, 1, {**tools_of("onnx"), "pillow": "1.0", "onnxruntime": None})
    error = str(caught.value.error())
    assert "pillow" in error and "instead of 1.0" in error and "instead of None" in error
    assert "numpy" not in error


@pytest.mark.parametrize(
    "error",
    [
        StageError("what", where="where", hint="hint"),
        BrokenImage("a.jpg", "is empty"),
        MissingError([Missing("weights", "get them")]),
    ],
)
def test_errors_survive_the_way_back(error: Any) -> None:
    failed = Failed(type(error), error.args, error.__dict__)
    back = pickle.loads(pickle.dumps(failed)).error()  # our own bytes
    assert type(back) is type(error) and str(back) == str(error)
    assert back.args == error.args and vars(back) == vars(error)


def test_mapped_images_are_not_sent(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    np.save(tmp_path / "labels.npy", np.arange(50))
    dataset = open_npy(tmp_path)
    sent = pickle.dumps(dataset)
    assert len(sent) < 1000
    again = pickle.loads(sent)  # our own bytes
    assert again.content("07") == dataset.content("07") and again.class_count == 50


# The cluster


def test_a_cluster_gives_the_logits_and_the_verdict_of_one_process(
    images: Samples, subject: Subject, cluster: Engine
) -> None:
    alone = logits_of(subject.open(2), subject, images, 2, lambda amount: None)
    steps = Steps()
    shared = logits_in_shards(cluster, subject, images, 2, steps)
    np.testing.assert_array_equal(shared, alone)
    assert steps.done == [48, 32]
    reference = alone + np.random.default_rng(0).normal(0, 1, alone.shape).astype(np.float32)
    first, second = (
        judge(
            logits, images.labels(), before=reference, reference=reference,
            thresholds=Thresholds(max_top1_drop=0.1), evidence="measured",
        )
        for logits in (alone, shared)
    )  # fmt: skip
    assert first == second


def test_a_clusters_errors_are_those_of_one_process(
    images: Samples, subject: Subject, cluster: Engine, tmp_path: Path
) -> None:
    assert isinstance(images.dataset, Imagenet)
    folder = shutil.copytree(images.dataset.folder, tmp_path / "images")
    damaged = replace(images, dataset=Imagenet(folder))
    (folder / images.items[60].id).write_bytes(b"no image")
    items = list(images.items)
    items[60] = items[60]._replace(digest=content_digest(b"no image"))
    artifact, view = subject.artifact, subject.preprocess
    for samples in (damaged, replace(damaged, items=tuple(items))):
        errors = []
        for engine in (HERE, cluster):
            with pytest.raises(StageError) as caught:
                run_on(artifact, samples, view, 1, Silent(), engine=engine)
            errors.append((caught.type, str(caught.value)))
        assert errors[0] == errors[1] and images.items[60].id in errors[0][1]


def test_images_that_kill_every_worker(images: Samples, subject: Subject, cluster: Engine) -> None:
    """Dask runs their shard on others, and gives up; then it must not wait for ever."""
    deadly = replace(images, dataset=Deadly(images))
    with pytest.raises(StageError, match="workers died one after another"):
        logits_in_shards(cluster, subject, deadly, 1, Steps())


class Telling(Imagenet):
    """Images that say which process reads them."""

    def content(self, id: str) -> bytes:
        raise BrokenImage(id, f"was read by {os.getpid()}")


def test_a_cluster_of_one_thread_runs_them_itself(images: Samples, subject: Subject) -> None:
    """joblib would run them in the process that asks."""
    distributed = pytest.importorskip("distributed")
    assert isinstance(images.dataset, Imagenet)
    telling = replace(images, dataset=Telling(images.dataset.folder))
    with distributed.LocalCluster(
        processes=True, n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ) as one:
        engine = Engine("dask", one.scheduler_address)
        with pytest.raises(BrokenImage, match="was read by") as caught:
            logits_in_shards(engine, subject, telling, 1, Steps())
    assert not caught.value.reason.endswith(f" {os.getpid()}")


def test_a_worker_without_the_package_is_named(images: Samples, subject: Subject) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        code = f"""
import asyncio, sys
sys.modules["pipeline"] = None  # what Python makes of a package that is not there
from distributed import Worker
async def work():
    async with Worker({empty.scheduler_address!r}, nthreads=1, dashboard=False) as worker:
        await worker.finished()
asyncio.run(work())
"""
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as worker:
            engine = Engine("dask", empty.scheduler_address)
            try:
                with pytest.raises(StageError, match="has not this version of the pipeline"):
                    logits_in_shards(engine, subject, images, 1, Steps())
            finally:
                worker.terminate()


def test_no_cluster_and_a_cluster_without_workers(
    images: Samples, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "SECONDS", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(StageError, match="cannot be reached") as caught:
            logits_in_shards(Engine("dask", address), subject, images, 1, Steps())
        assert address in str(caught.value)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(StageError, match="no worker") as caught,
    ):
        logits_in_shards(Engine("dask", empty.scheduler_address), subject, images, 1, Steps())
    assert "dask worker" in caught.value.hint


def test_without_the_package_the_command_is_named(lab: Any) -> None:
    code = """
import sys
sys.modules["distributed"] = None  # what Python makes of a package that is not there
from pipeline.errors import MissingError
from pipeline.evaluation.shards import Engine, engine_missing, logits_in_shards
from pipeline.evaluation.run_artifact import Subject
from pipeline.artifact import Artifact
from pathlib import Path
assert not engine_missing(Engine())
subject = Subject(Artifact(Path("m.onnx"), "onnx", "", 0), None)
try:
    logits_in_shards(Engine("dask", "tcp://here:8786"), subject, (), 1, None)
except MissingError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=lab.environment()
    )
    assert "pip install" in done.stdout and "[dask]" in done.stdout, done.stderr
