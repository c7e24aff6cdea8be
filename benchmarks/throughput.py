"""Images a second of a whole evaluation, from JPEG files, beside the bare session.

Ours reads, decodes, crops, normalizes and runs; ONNX Runtime alone runs the same images, which are
in memory and normalized already. Same session options, same threads, same batches, both in one
process and in turns, so that what slows the machine slows both. Opening the file is in neither.

`python -m benchmarks.throughput SUBJECT IMAGES THREADS LIMIT_GB FOLDER` prints the seconds of both.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.inception import MODEL, PREPROCESS, SEED

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

IMAGES, ROUNDS = 64, 3
SIZE = (500, 375)
"""The commonest size of ImageNet's photographs, which are JPEGs of about 110 kB."""
QUALITY = 95
FILES = "jpeg"
SUBJECTS = {"evaluation-float": ("onnx", MODEL), "evaluation-uint8": ("qdq-onnx", "uint8.onnx")}


def prepare(folder: Path, images: int) -> None:
    """Write the photographs; the models are those of `benchmarks.inference`."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    place = folder / FILES / "n01440764"
    place.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    sources = [Image.fromarray(picture) for picture in load_sample_images().images]
    for index in range(images):
        source = sources[index % len(sources)]
        height = int(random.integers(240, source.height + 1))
        width = height * SIZE[0] // SIZE[1]
        left = int(random.integers(0, source.width - width + 1))
        top = int(random.integers(0, source.height - height + 1))
        part = source.crop((left, top, left + width, top + height)).resize(SIZE)
        part.save(place / f"n01440764_{index}.JPEG", quality=QUALITY)


def photographs(folder: Path, images: int) -> "Samples":
    """The files as evaluation images."""
    from pipeline.data.dataset import content_digest
    from pipeline.data.imagenet import Imagenet
    from pipeline.data.samples import Sample, Samples

    dataset = Imagenet(folder / FILES)
    items = (
        Sample(item.id, item.label, content_digest(dataset.content(item.id)))
        for item in dataset.listing()[:images]
    )
    return Samples("evaluation", dataset, tuple(items))


def measure(subject: str, images: int, threads: int, folder: Path) -> tuple[float, float]:
    """Seconds of ours and of the bare session: medians over the rounds."""
    from pipeline.artifact import Artifact, digest_of_path
    from pipeline.evaluation.run_artifact import BATCH, Subject, logits_of
    from pipeline.runners.onnx import declared_preprocess, make_session

    format, name = SUBJECTS[subject]
    path = folder / name
    artifact = Artifact(path, format, digest_of_path(path), path.stat().st_size)  # type: ignore[arg-type]
    samples = photographs(folder, images)
    ours = Subject(artifact, PREPROCESS)
    runner = ours.open(threads)
    session = make_session(path, threads)
    declared = declared_preprocess(session.get_modelmeta().custom_metadata_map, name)
    normalization = (declared or PREPROCESS).normalization
    crops = np.concatenate([crops for crops, _ in samples.crops(PREPROCESS, BATCH)])
    normalized = normalization.apply(crops)
    given = session.get_inputs()[0].name

    def bare() -> object:
        parts = range(0, images, BATCH)
        return np.concatenate(
            [session.run(None, {given: normalized[i : i + BATCH]})[0] for i in parts]
        )

    def whole() -> object:
        return logits_of(runner, ours, samples, threads, lambda amount: None)

    assert np.array_equal(bare(), whole())  # which also warms both up
    turns = [(_seconds(whole), _seconds(bare)) for _ in range(ROUNDS)]
    return median(turn[0] for turn in turns), median(turn[1] for turn in turns)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    subject, images, threads, limit, folder = sys.argv[1:]
    size = int(float(limit) * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    seconds, bare = measure(subject, int(images), int(threads), Path(folder))
    print(json.dumps({"seconds": seconds, "bare_seconds": bare}))


if __name__ == "__main__":
    main()
