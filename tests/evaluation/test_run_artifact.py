"""The bytes that a board assigns to an integer input, as a runner here would have to be given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.artifact import Artifact, digest_of_path
from pipeline.data.dataset import content_digest
from pipeline.data.device_view import DeviceView
from pipeline.data.imagenet import Imagenet
from pipeline.data.preprocess import Preprocess
from pipeline.data.samples import Sample, Samples
from pipeline.evaluation.evaluator import run_on
from pipeline.evaluation.run_artifact import Subject, assigned_bytes
from pipeline.graph.file import load_graph, set_preprocess
from pipeline.lower.render import render_tflite
from pipeline.progress import Silent
from pipeline.quant.equalize.input_std import fold_input_std
from pipeline.quant.equalize.weights import Weights
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.recipe import Quantize, Ranges
from pipeline.runners import open_runner
from pipeline.runners.declared import preprocess_for

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def lowered(trio: Any, lab: Any, folder: Path, data_type: str, **changes: Any) -> Subject:
    """A TFLite file as `equalize`, `quantize` and `lower` make it of a recipe's preprocessing, and
    that preprocessing: what a run gives to be prepared as a board does."""
    graph, options = load_graph(trio.graph), Quantize(data_type=data_type)  # type: ignore[arg-type]
    given = trio.view.model_copy(update=changes)
    weights = Weights(graph.graph)
    normalization = fold_input_std(graph.graph, weights, given.normalization)
    weights.write_back()
    set_preprocess(graph, given.with_normalization(normalization))
    crops = lab.crops_of(trio.view, 4)
    seen = observe(graph, placement_for(graph, options).observed, normalization, [crops], 1)
    plan = make_plan(graph, "0" * 64, normalization, seen, options, Ranges(rule="minmax"))
    path = folder / "m.tflite"
    path.write_bytes(render_tflite(graph, plan, None))
    artifact = Artifact(path, "tflite", digest_of_path(path), path.stat().st_size)
    return Subject(artifact, given, DeviceView(size=given.size, convert=True))


def table_of(subject: Subject) -> NDArray[np.uint8]:
    table = assigned_bytes(subject.artifact, subject.preprocess.normalization)
    assert table is not None
    return table


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
def test_our_own_models_take_bytes_as_they_are(
    trio: Any, lab: Any, tmp_path: Path, data_type: str
) -> None:
    """Means of 127.5 are 127 in the file, which is what it says itself and the metafile too; so the
    board copies the bytes, whatever mean the recipe has."""
    subject = lowered(trio, lab, tmp_path, data_type, **HALF)
    assert np.array_equal(table_of(subject), np.tile(np.arange(256), (3, 1)))
    size = subject.preprocess.size
    crops = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    plain = open_runner("tflite", subject.artifact.path, None, 1)
    np.testing.assert_array_equal(subject.open(1)(crops), plain(crops))


def test_unlike_means_are_cut_and_rounded_as_the_board_does(
    trio: Any, lab: Any, tmp_path: Path
) -> None:
    """Means of 127.5, 102 and 114.75: the bytes pass through the scales, by the board's rounding."""
    difference = table_of(lowered(trio, lab, tmp_path, "uint8")).astype(int) - np.arange(256)
    assert set(np.unique(difference)) == {-1, 0, 1}


def test_unlike_deviations_are_those_of_the_file(trio: Any, lab: Any, tmp_path: Path) -> None:
    """`equalize` makes them one, and only the file knows which."""
    subject = lowered(trio, lab, tmp_path, "uint8", **IMAGENET)
    own = preprocess_for(subject.artifact.path, "tflite", None)
    assert len(set(own.std)) == 1 and len(set(subject.preprocess.std)) == 3
    difference = table_of(subject).astype(int) - np.arange(256)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("changes", [HALF, IMAGENET])
def test_a_run_and_evaluate_agree(
    trio: Any, lab: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """A run has the recipe's preprocessing, `evaluate --preprocess device` that of the file."""
    subject = lowered(trio, lab, tmp_path, "uint8", **changes)
    declared = preprocess_for(subject.artifact.path, "tflite", subject.preprocess)
    assert declared != subject.preprocess
    (tmp_path / "images").mkdir()
    for label, synset in enumerate(lab.SYNSETS):
        lab.picture(label, 0).save(tmp_path / "images" / f"{synset}_0.JPEG")
    dataset = Imagenet(tmp_path / "images")
    items = (
        Sample(item.id, item.label, content_digest(dataset.content(item.id)))
        for item in dataset.listing()
    )
    samples = Samples("evaluation", dataset, tuple(items))

    def logits(preprocess: Preprocess) -> NDArray[np.float32]:
        return run_on(subject.artifact, samples, preprocess, 1, Silent(), subject.device)

    np.testing.assert_array_equal(logits(subject.preprocess), logits(declared))


def test_inputs_of_real_numbers_are_left_alone(trio: Any) -> None:
    artifact = Artifact(trio.graph, "onnx", "0" * 64, 1)
    assert assigned_bytes(artifact, trio.view.normalization) is None
