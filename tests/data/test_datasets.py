from pathlib import Path
from typing import get_args

import pytest

from pipeline.data.datasets import DATASETS, Dataset, dataset_missing, open_dataset
from pipeline.errors import UsageError
from pipeline.recipe import DatasetName


def test_the_recipe_knows_exactly_these() -> None:
    assert set(DATASETS) == set(get_args(DatasetName))


def test_nothing_is_missing_for_digits() -> None:
    assert dataset_missing("digits", None) == []
    dataset: Dataset = open_dataset("digits", None)
    assert dataset.name == "digits"


def test_what_is_missing_for_imagenet_is_told(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "absent"):
        (thing,) = dataset_missing("imagenet", folder)
        assert thing.what.startswith("ImageNet images: ") and thing.hint


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="unknown dataset 'cifar'") as caught:
        open_dataset("cifar", None)
    assert "imagenet" in caught.value.hint
