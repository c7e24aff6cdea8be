"""The bytes that a board assigns to an integer input, as a runner here would have to be given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import Artifact
from pipeline.data.preprocess import Normalization
from pipeline.evaluation.run_artifact import assigned_bytes
from pipeline.graph.file import load_graph, preprocess_in, set_preprocess
from pipeline.lower.render import render_tflite
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.recipe import Quantize, Ranges

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def lowered(
    trio: Any, lab: Any, folder: Path, data_type: str, **changes: Any
) -> tuple[Artifact, Normalization]:
    graph, options = load_graph(trio.graph), Quantize(data_type=data_type)  # type: ignore[arg-type]
    set_preprocess(graph, trio.view.model_copy(update=changes))
    normalization = preprocess_in(graph, "").normalization
    crops = lab.crops_of(trio.view, 4)
    seen = observe(graph, placement_for(graph, options).observed, normalization, [crops], 1)
    plan = make_plan(graph, "0" * 64, normalization, seen, options, Ranges(rule="minmax"))
    path = folder / "m.tflite"
    path.write_bytes(render_tflite(graph, plan, None))
    return Artifact(path, "tflite", "0" * 64, path.stat().st_size), plan.normalization


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
def test_our_own_models_take_bytes_as_they_are(
    trio: Any, lab: Any, tmp_path: Path, data_type: str
) -> None:
    """With equal means they are on the input's grid, so that the board cuts nothing off."""
    artifact, normalization = lowered(trio, lab, tmp_path, data_type, **HALF)
    table = assigned_bytes(artifact, normalization)
    assert table is not None
    assert np.array_equal(table, np.tile(np.arange(256), (3, 1)))


def test_unlike_means_are_cut_and_rounded_as_the_board_does(
    trio: Any, lab: Any, tmp_path: Path
) -> None:
    """Means of 127.5, 102 and 114.75: the bytes pass through the scales, by the board's rounding."""
    artifact, normalization = lowered(trio, lab, tmp_path, "uint8")
    table = assigned_bytes(artifact, normalization)
    assert table is not None
    difference = table.astype(int) - np.arange(256)
    assert set(np.unique(difference)) == {-1, 0, 1}


def test_inputs_of_real_numbers_are_left_alone(trio: Any) -> None:
    artifact = Artifact(trio.graph, "onnx", "0" * 64, 1)
    assert assigned_bytes(artifact, trio.view.normalization) is None
