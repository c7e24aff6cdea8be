"""Inception V4 at 299x299 whose channels differ by orders of magnitude, beside onnxruntime's own
quantization of the same file with the same photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.check.metrics import sqnr_db
from pipeline.graph.file import load_graph, save_graph
from pipeline.quant.equalize.coupling import find_couplings
from pipeline.quant.equalize.weights import Weights
from pipeline.runners import open_runner

pytestmark = pytest.mark.slow

CALIBRATION, SELECTION, EVALUATION = 32, 16, 32
LARGEST = 300.0
TAIL = 1.0
"""Exponent of the Pareto distribution that the channels' factors are drawn from: one channel in a
hundred is a hundred times larger."""
RECIPE = f"""\
schema: 1
model: {{source: onnx, name: heavy, weights: heavy.onnx}}
data:
  preprocess: {{size: 299, interpolation: bicubic, crop: 1.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
  folder: images
  calibration: {{dataset: imagenet, images: {CALIBRATION}}}
  selection: {{dataset: imagenet, images: {SELECTION}}}
  evaluation: {{dataset: imagenet, images: all}}
  uneven_classes: accept
compile: {{delegate: cpu}}
"""


@pytest.fixture(scope="module")
def folder(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heavy-tailed model, photographs as class folders, and a recipe."""
    from benchmarks.inception import export_model, photographs, seeded_model

    root = tmp_path_factory.mktemp("heavy")
    crops = photographs(CALIBRATION + SELECTION + EVALUATION)
    for number, crop in enumerate(crops):
        place = root / "images" / lab.SYNSETS[number % len(lab.SYNSETS)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(place / f"{number}.png")
    export_model(seeded_model(crops[:32]), root / "heavy.onnx")
    graph = load_graph(root / "heavy.onnx")
    weights, rng = Weights(graph.graph), np.random.default_rng(0)
    for coupling in find_couplings(graph.graph):
        factors = np.minimum(1 + rng.pareto(TAIL, coupling.channels), LARGEST)
        weights.outgoing(coupling.writer)[:] *= factors.reshape(-1, 1, 1, 1)
        weights.bias(coupling.writer)[:] *= factors
        for reader in coupling.readers:
            rows = weights.incoming(reader.node)
            rows = rows[reader.offset : reader.offset + coupling.channels]
            rows /= factors.reshape(-1, *[1] * (rows.ndim - 1))
    weights.write_back()
    save_graph(graph, root / "heavy.onnx")
    (root / "recipe.yaml").write_text(RECIPE)
    return root


def test_ten_decibels_better_than_onnxruntimes_min_max(lab: Any, folder: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    from benchmarks.inception import PREPROCESS

    done = lab.pipeline_run(folder / "recipe.yaml", folder / "artifacts", "--until", "quantize")
    assert done.code == 0, done.err
    stages = {stage["name"]: stage for stage in done.json["stages"]}
    pictures = np.stack([np.asarray(Image.open(p)) for p in sorted(folder.rglob("*.png"))])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._crops = iter(pictures[:CALIBRATION])

        def get_next(self) -> Any:
            crop = next(self._crops, None)
            return None if crop is None else {"input": PREPROCESS.normalization.apply(crop[None])}

    quantize_static(
        str(folder / "heavy.onnx"), str(folder / "theirs.onnx"), Reader(),
        quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QUInt8, per_channel=False,
    )  # fmt: skip
    files = {
        "float": ("onnx", folder / "heavy.onnx"),
        "ours": ("qdq-onnx", folder / "artifacts" / stages["quantize"]["artifact"]["path"]),
        "theirs": ("onnx", folder / "theirs.onnx"),
    }
    logits = {}
    for name, (format, path) in files.items():
        runner = open_runner(format, path, PREPROCESS.normalization, 2)  # type: ignore[arg-type]
        logits[name] = np.concatenate([runner(part) for part in np.array_split(pictures, 10)])
    ours, theirs = (sqnr_db(logits[name], logits["float"]) for name in ("ours", "theirs"))
    print(f"logit SQNR: ours {ours:.1f} dB, onnxruntime min/max {theirs:.1f} dB")
    assert ours >= theirs + 10
