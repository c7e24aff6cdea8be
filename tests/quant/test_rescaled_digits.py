"""The digits Inception V4, and the same function with a few channels rescaled by 300.

A range that follows such a channel leaves the others no integers. Ranges alone can give up the
channel and recover the rest; only `equalize` undoes the rescaling.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.graph.file import load_graph, save_graph
from pipeline.quant.equalize.coupling import find_couplings
from pipeline.quant.equalize.weights import Weights

pytestmark = pytest.mark.slow

FACTOR = 300
EVERY = 25
"""One channel of every 25th layer: six in all."""
PER_CHANNEL = {"data_type": "int8", "scheme": "perchannel_symmetric_affine"}
RECIPE = """\
schema: 1
model: {source: onnx, name: rescaled, weights: rescaled.onnx}
data:
  preprocess: {size: 75, interpolation: bilinear, crop: 1.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  calibration: {dataset: digits, images: 80}
  selection: {dataset: digits, images: 48}
  evaluation: {dataset: digits, images: all}
compile: {delegate: cpu}
"""


def run(lab: Any, recipe: Path, artifacts: Path, *words: str) -> dict[str, Any]:
    done = lab.pipeline_run(recipe, artifacts, *words)
    assert done.code == 0, done.err
    return {stage["name"]: stage for stage in done.json["stages"]}


@pytest.fixture(scope="module")
def rescaled(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for the rescaled model. The trained one is the demo's, and is trained only once."""
    recipe = lab.REPOSITORY / "configs" / "inception_v4_digits.yaml"
    stages = run(lab, recipe, lab.REPOSITORY / "artifacts", "--until", "export")
    graph = load_graph(lab.REPOSITORY / "artifacts" / stages["export"]["artifact"]["path"])
    weights, rng = Weights(graph.graph), np.random.default_rng(0)
    for coupling in find_couplings(graph.graph)[::EVERY]:
        channel = int(rng.choice(coupling.channels))
        weights.outgoing(coupling.writer)[channel] *= FACTOR
        weights.bias(coupling.writer)[channel] *= FACTOR
        for reader in coupling.readers:
            weights.incoming(reader.node)[reader.offset + channel] /= FACTOR
    weights.write_back()
    folder = tmp_path_factory.mktemp("rescaled")
    save_graph(graph, folder / "rescaled.onnx")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


def quantized(lab: Any, recipe: Path, **options: Any) -> Any:
    words = [f"--set=quantize.{name}={json.dumps(value)}" for name, value in options.items()]
    if "ranges" in options:
        words.append("--set=equalize=null")
    stages = run(lab, recipe, recipe.parent / "artifacts", "--until", "quantize", *words)
    return stages["quantize"]["check"]


def test_ranges_alone(lab: Any, rescaled: Path) -> None:
    """With weights per channel, the activations' ranges are what the rescaling hurts."""
    top1 = {
        ranges["rule"]: quantized(
            lab, rescaled, ranges=ranges, bias_correction="none", **PER_CHANNEL
        )["top1"]
        for ranges in ({"rule": "minmax"}, {"rule": "percentile", "percentile": 99})
    }
    assert top1["minmax"] < 0.3
    assert top1["percentile"] > 0.6


@pytest.mark.parametrize("options", [{}, PER_CHANNEL], ids=["uint8", "int8-per-channel"])
def test_the_whole_chain_is_within_half_a_point(lab: Any, rescaled: Path, options: Any) -> None:
    assert quantized(lab, rescaled, **options)["top1_drop"] <= 0.005
