import hashlib
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.dataset import BrokenImage, content_digest
from pipeline.data.digits import open_digits
from pipeline.data.imagenet import Imagenet
from pipeline.data.preprocess import Preprocess
from pipeline.data.samples import Sample, Samples
from pipeline.errors import StageError

Write = Callable[[str, bytes | int], Path]
PREPROCESS = Preprocess(size=8, crop=0.875, interpolation="bilinear")
TENCH = "n01440764"


class Counting(Imagenet):
    """Counts how many images were read."""

    reads = 0

    def content(self, id: str) -> bytes:
        self.reads += 1
        return super().content(id)


@pytest.fixture
def samples(folder: Path, write: Write) -> Samples:
    for place in range(23):
        write(f"{TENCH if place % 2 else 'n01443537'}_{place:02}.png", place)
    dataset = Counting(folder)
    return Samples(
        "evaluation",
        dataset,
        tuple(
            Sample(item.id, item.label, content_digest(Path(folder, item.id).read_bytes()))
            for item in reversed(dataset.listing())
        ),
    )


def test_crops_come_in_order_in_batches_with_a_smaller_last(samples: Samples) -> None:
    batches = list(samples.crops(PREPROCESS, 5, workers=3))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    for crops, labels in batches:
        assert crops.shape == (len(labels), 8, 8, 3)
        assert crops.dtype == np.uint8 and labels.dtype == np.int64
    expected = [PREPROCESS.crop_image(samples.dataset.image(item.id)) for item in samples.items]
    np.testing.assert_array_equal(np.concatenate([crops for crops, _ in batches]), expected)
    np.testing.assert_array_equal(
        np.concatenate([labels for _, labels in batches]), samples.labels()
    )
    assert samples.labels().tolist() == [item.label for item in samples.items]


@pytest.mark.parametrize("batch", [1, 23, 100])
def test_the_batch_size_changes_nothing_but_the_cuts(samples: Samples, batch: int) -> None:
    crops = np.concatenate([crops for crops, _ in samples.crops(PREPROCESS, batch, workers=1)])
    again = np.concatenate([crops for crops, _ in samples.crops(PREPROCESS, 7)])
    np.testing.assert_array_equal(crops, again)


def test_no_image_no_batch(samples: Samples) -> None:
    assert list(Samples("selection", samples.dataset, ()).crops(PREPROCESS, 4)) == []


def test_reads_no_more_than_a_batch_ahead(samples: Samples) -> None:
    assert isinstance(samples.dataset, Counting)
    with closing(samples.crops(PREPROCESS, 4, workers=2)) as batches:
        next(batches)
        time.sleep(0.05)
        assert 4 <= samples.dataset.reads <= 4 + 4 + 2
    read = samples.dataset.reads
    time.sleep(0.05)
    assert samples.dataset.reads == read, "closing stops the threads"


def test_a_broken_image_is_named(samples: Samples, write: Write) -> None:
    broken = b"no image"
    path = write(samples.items[6].id, broken)
    items = list(samples.items)
    items[6] = items[6]._replace(digest=content_digest(broken))
    with pytest.raises(BrokenImage) as caught:
        list(Samples("evaluation", samples.dataset, tuple(items)).crops(PREPROCESS, 4))
    assert caught.value.where == str(path)


def test_a_file_replaced_after_the_draw_is_noticed_even_with_its_time_kept(
    samples: Samples, write: Write
) -> None:
    path = Path(samples.dataset.where(samples.items[6].id))
    status = path.stat()
    write(samples.items[6].id, 1000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(StageError, match="not the one that was drawn") as caught:
        list(samples.crops(PREPROCESS, 4))
    assert caught.value.where == str(path) and "touch" in caught.value.hint


def test_digest_is_of_contents_labels_and_order_not_of_names(samples: Samples) -> None:
    text = "".join(f"{item.digest} {item.label}\n" for item in samples.items)
    assert samples.digest == hashlib.sha256(text.encode()).hexdigest()

    def digest(items: tuple[Sample, ...]) -> str:
        return Samples("calibration", open_digits(None), items).digest

    renamed = tuple(item._replace(id=f"{item.id}x") for item in samples.items)
    relabelled = (samples.items[0]._replace(label=7), *samples.items[1:])
    assert digest(renamed) == samples.digest
    for changed in (relabelled, samples.items[1:], samples.items[::-1]):
        assert digest(changed) != samples.digest


def test_digits_are_cropped_too() -> None:
    dataset = open_digits(None)
    items = tuple(
        Sample(item.id, item.label, content_digest(dataset.content(item.id)))
        for item in dataset.listing()[:10]
    )
    ((crops, labels),) = Samples("evaluation", dataset, items).crops(
        Preprocess(size=75, crop=1.0, interpolation="bilinear"), 64
    )
    assert crops.shape == (10, 75, 75, 3)
    enlarged = dataset.image(items[0].id).resize((75, 75), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(crops[0], np.asarray(enlarged))
    assert labels.tolist() == [item.label for item in items]
