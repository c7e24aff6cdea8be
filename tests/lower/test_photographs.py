"""End to end at full size: Graph and Plan as QDQ ONNX and as TFLite agree on real photographs.

Two chains: Inception V4 at 299x299 with seeded weights, and, where PIPELINE_SAMPLE_DATA names the
folder with them, the MobileNet V2 sample and its pictures through the command line.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.check.metrics import agreement, sqnr_db
from pipeline.graph.file import load_graph, save_graph
from pipeline.lower.render import render_tflite
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.runners import open_runner

pytestmark = pytest.mark.slow

OPTIONS = {
    "uint8": {"data_type": "uint8", "scheme": "asymmetric_affine"},
    "int8": {"data_type": "int8", "scheme": "asymmetric_affine"},
    "per-channel": {"data_type": "int8", "scheme": "perchannel_symmetric_affine"},
}


def assert_agree(paths: dict[str, Path], crops: np.ndarray, least: float = 0.99) -> None:
    formats = {"float": "onnx", "qdq": "qdq-onnx", "tflite": "tflite"}
    logits = {}
    for name, path in paths.items():
        runner = open_runner(formats[name], path, None, 2)  # type: ignore[arg-type]
        logits[name] = np.concatenate([runner(crops[i : i + 8]) for i in range(0, len(crops), 8)])
    assert agreement(logits["tflite"], logits["qdq"]) >= least
    ours, theirs = (sqnr_db(logits[name], logits["float"]) for name in ("tflite", "qdq"))
    assert theirs > 10
    assert abs(ours - theirs) < 1


def seeded_inception(crops: np.ndarray) -> Any:
    """Inception V4 with random weights that can be told apart by what it sees: every photograph is
    a class of its own, recognised by its features.

    The batch norms leave most values positive. With ordinary ones a random network this deep is
    chaotic: noise of a hundredth of a grey level changes the float model's own answer for a fifth
    of the pictures, so that no two ways of rounding could agree.
    """
    import torch

    from benchmarks.inception import PREPROCESS
    from pipeline.sources.timm_models import build

    images = torch.from_numpy(PREPROCESS.normalization.apply(crops))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model: Any = build("inception_v4", len(crops))
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.momentum = None  # statistics are a plain average over all batches
            norm.reset_running_stats()
            norm.weight.fill_(0.5)
            norm.bias.fill_(0.5)
        model.train()
        for start in range(0, len(images), 16):
            model(images[start : start + 16])
        model.eval()
        parts = [model.forward_features(images[i : i + 8]) for i in range(0, len(images), 8)]
        features = torch.cat([model.forward_head(part, pre_logits=True) for part in parts])
        centre = features.mean(0)
        directions = torch.nn.functional.normalize(features - centre)
        model.last_linear.weight.copy_(directions)
        model.last_linear.bias.copy_(-directions @ centre)
    return model


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    from benchmarks.inception import export_model, photographs

    crops = photographs(32)
    path = tmp_path_factory.mktemp("inception") / "float.onnx"
    export_model(seeded_inception(crops), path)
    return path, crops


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_inception_at_299(inception: Any, tmp_path: Path, options: Any) -> None:
    path, crops = inception
    graph, quantize = load_graph(path), Quantize(**options)
    from benchmarks.inception import PREPROCESS

    tensors = placement_for(graph, quantize).observed
    normalization = PREPROCESS.normalization
    seen = observe(graph, tensors, normalization, np.array_split(crops[:16], 8), 2)
    plan = make_plan(graph, "0" * 64, normalization, seen, quantize, Ranges(rule="mse"))
    content = render_tflite(graph, plan, None)
    (tmp_path / "m.tflite").write_bytes(content)
    weights = sum(
        int(value.const_value.size)
        for name, value in graph.graph.initializers.items()
        if name in plan.weights and value.const_value is not None
    )
    channels = sum(len(bias.scale) for bias in plan.biases.values())
    # Per channel the format itself wants a scale and a zero point of weights and bias each.
    parameters = 24 * channels if plan.scheme == "perchannel_symmetric_affine" else 0
    assert weights < len(content) < 1.02 * weights + parameters
    render_qdq(graph, plan)
    save_graph(graph, tmp_path / "qdq.onnx")
    files = {"float": path, "qdq": tmp_path / "qdq.onnx", "tflite": tmp_path / "m.tflite"}
    assert_agree(files, crops)


def run(lab: Any, sample_data: Path, artifacts: Path, words: Sequence[str]) -> Any:
    recipe = str(lab.REPOSITORY / "configs" / "mobilenet_v2_sample.yaml")
    argv = [
        sys.executable, "-m", "pipeline", "run", recipe, "--until", "lower", "--threads", "2",
        "--weights", str(sample_data / "mobilenet_v2_1.0_224_float.onnx"),
        "--data", str(sample_data / "imagenet-sample"), "--artifacts", str(artifacts),
    ]  # fmt: skip
    done = lab.call([*argv, *words])
    assert done.code == 0, done.err
    folder = artifacts / "mobilenet_v2_sample" / "until-lower"
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_mobilenet_sample(lab: Any, sample_data: Path, tmp_path: Path, options: Any) -> None:
    from pipeline.data.datasets import open_dataset
    from pipeline.data.preprocess import Preprocess

    words = [word for k, v in options.items() for word in ("--set", f"quantize.{k}={v}")]
    report = run(lab, sample_data, tmp_path, words)
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert stages["lower"]["check"]["images"] == 350
    assert stages["lower"]["check"]["agreement"] >= 0.99
    assert abs(stages["lower"]["check"]["step_drop"]) <= 0.01
    paths = {
        name: tmp_path / stages[stage]["artifact"]["path"]
        for name, stage in (("float", "export"), ("qdq", "quantize"), ("tflite", "lower"))
    }
    dataset, view = open_dataset("imagenet", sample_data / "imagenet-sample"), Preprocess(size=224)
    pictures = [item.id for item in dataset.listing()][::3]
    crops = np.stack([view.crop_image(dataset.image(id)) for id in pictures])
    # Every hundredth or so of the pictures lies between two classes: of fewer, two may be apart.
    assert_agree(paths, crops, least=0.98)


def test_the_vendors_mobilenet_evaluates_to_its_accuracy(
    lab: Any, sample_data: Path, tmp_path: Path
) -> None:
    """88.1 % on the 1000 pictures of the collection, of which 500 are at hand: two standard errors
    of the difference are 2.9 points."""
    argv = [
        sys.executable, "-m", "pipeline", "evaluate",
        str(sample_data / "mobilenet_v2_1.0_224_quant.tflite"), "--label-offset", "1", "--json",
        "--data", str(sample_data / "imagenet-sample"), "--artifacts", str(tmp_path),
    ]  # fmt: skip
    done = lab.call(argv)
    assert done.code == 0, done.err
    assert done.json["images"] == 500
    assert abs(done.json["top1"] - 0.881) < 0.029
    assert "does not say how pictures are cropped" in done.err
    without = lab.call([word for word in argv if word not in ("--label-offset", "1")])
    assert without.json == done.json
    assert "the first is taken for a background class" in without.err
