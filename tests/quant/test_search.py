from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.graph.file import save_graph
from pipeline.progress import Silent
from pipeline.quant import search
from pipeline.quant.candidate import Base
from pipeline.quant.make_plan import placement_for
from pipeline.quant.observe import observe
from pipeline.quant.rules import RULES
from pipeline.quant.search import attempts, choose
from pipeline.recipe import Quantize
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization


def base_of(model: ir.Model, images: np.ndarray, path: Path) -> Base:
    save_graph(model, path)
    tensors = placement_for(model, Quantize()).observed
    ranges = observe(model, tensors, NORMALIZATION, [images], 1)

    def batches(size: int) -> Any:
        return (images[i : i + size] for i in range(0, len(images), size))

    return Base(path, "0" * 64, Quantize(), ranges, batches, 1, Silent())


def test_the_winner_is_the_best_of_the_last_round_on_all_images(
    small: ir.Model, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FIRST_IMAGES", 6)
    crops = [images[:6], images[6:]]
    reference = make_session(ir.to_proto(small).SerializeToString(), 1).run(
        None, {"input": NORMALIZATION.apply(images)}
    )[0]
    # The same Graph with one channel blown up: the ruined twin must not win.
    twin = ir.from_proto(ir.to_proto(small))
    for name, factor in (("conv1_weight", 300.0), ("conv1_bias", 300.0)):
        value = twin.graph.initializers[name]
        array = np.array(value.const_value.numpy())
        array[0] *= factor
        value.const_value = ir.tensor(array, name=name)
    for name in ("conv2_weight", "conv3_weight"):
        value = twin.graph.initializers[name]
        array = np.array(value.const_value.numpy())
        array[:, 0] /= 300.0
        value.const_value = ir.tensor(array, name=name)
    bases = {
        "export": base_of(twin, images, tmp_path / "a.onnx"),
        "equalize": base_of(small, images, tmp_path / "b.onnx"),
    }
    count = 0

    def done() -> None:
        nonlocal count
        count += 1

    winner, tried = choose(bases, ("none", "sequential"), crops, reference, 1, done)
    assert count == len(tried) == attempts(2, ("none", "sequential")) == 2 * len(RULES) + 3 + 2
    finals = tried[-2:]
    assert [item.images for item in finals] == [len(images)] * 2
    assert winner.sqnr_db == max(item.sqnr_db for item in finals)
    assert winner.candidate.graph == "equalize"
    assert winner.images == len(images)
    ruined = max(t.sqnr_db for t in tried if t.candidate.graph == "export")
    assert winner.sqnr_db > ruined


@pytest.mark.parametrize("corrections", [("none",), ("fast",), ("sequential",)])
def test_a_correction_that_is_asked_for_is_used(
    small: ir.Model, images: np.ndarray, tmp_path: Path, corrections: Any
) -> None:
    base = base_of(small, images, tmp_path / "a.onnx")
    feed = {"input": NORMALIZATION.apply(images)}
    reference = make_session(tmp_path / "a.onnx", 1).run(None, feed)[0]
    winner, tried = choose({"export": base}, corrections, [images], reference, 1, lambda: None)
    assert winner.candidate.correction == corrections[0]
    assert len(tried) == attempts(1, corrections)


def test_the_few_images_hold_the_largest_and_the_smallest_logits() -> None:
    energies = np.array([3.0, 0.1, 900.0, 2.0, 1.0, 5.0, 4.0, 2.5, 0.5, 6.0])
    logits = np.stack([np.sqrt(energies), np.zeros(10)], axis=1).astype(np.float32)
    few = search.spread_by_energy(logits, 4)
    assert list(few) == sorted(few)
    assert len(set(few)) == 4
    assert {1, 2} <= set(few)
    # Ranks 0, 3, 6 and 9 of the ten.
    assert {energies[index] for index in few} == {0.1, 2.0, 4.0, 900.0}
    assert list(search.spread_by_energy(logits, 20)) == list(range(10))
    assert list(search.spread_by_energy(logits[:1], 4)) == [0]
