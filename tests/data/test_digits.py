import gzip
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.dataset import content_digest
from pipeline.data.digits import digits_training, open_digits

ROOT = Path(__file__).parents[2]


def scikit_learns() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.floor(found.images * 255 / 16 + 0.5).astype(np.uint8), found.target


def test_are_scikit_learns_digits_each_on_one_side() -> None:
    images, labels = scikit_learns()
    dataset = open_digits(None)
    held = {int(item.id.removeprefix("digit-")): item for item in dataset.listing()}
    training, training_labels = digits_training()
    trained = np.array([place not in held for place in range(len(images))])
    np.testing.assert_array_equal(training, images[trained])
    np.testing.assert_array_equal(training_labels, labels[trained])
    for place, item in held.items():
        assert dataset.content(item.id) == images[place].tobytes()
        assert item.label == labels[place]


def test_the_split_is_by_content_and_does_not_move() -> None:
    training, labels = digits_training()
    dataset = open_digits(None)
    held = {content_digest(dataset.content(item.id)) for item in dataset.listing()}
    trained = {content_digest(image.tobytes()) for image in training}
    assert len(training) == 1354 and len(dataset.listing()) == 443
    assert training.shape == (1354, 8, 8) and training.dtype == np.uint8
    assert labels.dtype == np.int64
    assert not held & trained
    assert max(int(digest[:2], 16) for digest in trained) < 184
    assert min(int(digest[:2], 16) for digest in held) >= 184


def test_both_sides_have_every_class() -> None:
    _, labels = digits_training()
    assert min(np.bincount(labels, minlength=10)) >= 80
    held = [item.label for item in open_digits(None).listing()]
    assert min(np.bincount(held, minlength=10)) >= 35


def test_images_are_gray_in_rgb_over_the_full_range() -> None:
    dataset = open_digits(Path("ignored"))
    item = dataset.listing()[0]
    image = dataset.image(item.id)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[..., 0].tobytes(), dataset.content(item.id))
    assert (pixels[..., :1] == pixels).all()
    assert max(max(dataset.content(item.id)) for item in dataset.listing()) == 255


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.data.digits import open_digits; "
        "d = open_digits(None); d.content(d.listing()[0].id); "
        "assert not {'sklearn', 'numpy', 'scipy', 'PIL', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def refusal(package_folder: Path | None) -> str:
    """What a user is told by an interpreter whose only package is the given one."""
    code = (
        "from pipeline.data.digits import open_digits\n"
        "from pipeline.errors import PipelineError\n"
        "try: open_digits(None)\n"
        "except PipelineError as error: print(type(error).__name__, error)"
    )
    path = os.pathsep.join(str(part) for part in (ROOT, package_folder) if part)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return done.stdout


def test_without_scikit_learn_it_says_what_to_do() -> None:
    said = refusal(None)
    assert said.startswith("MissingError") and "scikit-learn" in said and "make setup" in said


@pytest.mark.parametrize("damage", ["absent", "truncated", "not gzip", "short", "level", "word"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations
    content = Path(spec.submodule_search_locations[0], "datasets/data/digits.csv.gz").read_bytes()
    lines = gzip.decompress(content).splitlines()
    copy = tmp_path / "sklearn" / "datasets" / "data" / "digits.csv.gz"
    copy.parent.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").touch()
    if damage == "truncated":
        copy.write_bytes(content[: len(content) // 2])
    elif damage == "not gzip":
        copy.write_bytes(b"text")
    elif damage == "short":
        copy.write_bytes(gzip.compress(b"\n".join(lines[:-1])))
    elif damage == "level":
        lines[7] = b"17" + lines[7][1:]
        copy.write_bytes(gzip.compress(b"\n".join(lines)))
    elif damage == "word":
        lines[7] = b"x" + lines[7][1:]
        copy.write_bytes(gzip.compress(b"\n".join(lines)))
    said = refusal(tmp_path)
    assert said.startswith(f"StageError {copy}: ") and "make setup" in said


def test_the_undamaged_copy_would_be_read(tmp_path: Path) -> None:
    """So that the refusals above are refusals of the damage."""
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations
    copy = tmp_path / "sklearn" / "datasets" / "data" / "digits.csv.gz"
    copy.parent.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").touch()
    source = Path(spec.submodule_search_locations[0], "datasets/data/digits.csv.gz")
    copy.write_bytes(source.read_bytes())
    assert refusal(tmp_path) == ""
