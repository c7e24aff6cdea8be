"""`lower` on real architectures: the file does what the QDQ rendering of the same Plan does."""

import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import digest_of_path
from pipeline.check.metrics import agreement, sqnr_db
from pipeline.data.class_names import class_names
from pipeline.errors import StageError
from pipeline.graph.file import load_graph, preprocess_in, save_graph
from pipeline.progress import Silent
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.plan import load_plan, save_plan
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.recipe_file import load_recipe
from pipeline.runners import open_runner
from pipeline.stages import lower
from pipeline.stages.stage import Settings, Work
from pipeline.store import Store

PER_TENSOR = {"data_type": "uint8", "scheme": "asymmetric_affine"}
PER_CHANNEL = {"data_type": "int8", "scheme": "perchannel_symmetric_affine"}
OPTIONS = {
    "uint8": PER_TENSOR,
    "int8": {"data_type": "int8", "scheme": "asymmetric_affine"},
    "per-channel": PER_CHANNEL,
}
QUICK = ["test_resnet", "test_efficientnet"]
SLOW = {
    "mobilenetv1_100": 64, "mobilenetv2_035": 96, "mobilenetv3_small_050": 96, "resnet18": 64,
    "resnet18d": 64, "efficientnet_lite0": 64, "inception_v3": 75, "inception_v4": 75,
    "vgg11": 224, "cspresnet50": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def quantized(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with `float.onnx`, `plan.json` and `qdq.onnx` of an architecture, and crops."""
    graphs: dict[str, tuple[Path, np.ndarray]] = {}

    def make(name: str, options: Any, size: int = 64) -> Any:
        if name not in graphs:
            root = tmp_path_factory.mktemp(name)
            view = lab.view_of(size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
            model = lab.save_architecture(name, root / "model", view)
            graphs[name] = lab.export_graph(model, view, root), lab.crops_of(view, 28)
        path, crops = graphs[name]
        folder = tmp_path_factory.mktemp("plan")
        (folder / "float.onnx").write_bytes(path.read_bytes())
        graph, quantize = load_graph(path), Quantize(**options)
        tensors = placement_for(graph, quantize).observed
        normalization = preprocess_in(graph, "").normalization
        seen = observe(graph, tensors, normalization, np.array_split(crops[:16], 4), 2)
        digest = digest_of_path(folder / "float.onnx")
        plan = make_plan(graph, digest, normalization, seen, quantize, Ranges(rule="minmax"))
        save_plan(plan, folder / "plan.json")
        render_qdq(graph, plan)
        save_graph(graph, folder / "qdq.onnx")
        return SimpleNamespace(folder=folder, crops=crops[16:])

    return make


def carry_out(folder: Path, recipe: str, into: Path) -> dict[str, Any]:
    """The stage by itself; what it records."""
    (into / "recipe.yaml").write_text(recipe)
    unused: Any = None
    work = Work(
        folder=into,
        taken={"base": folder / "float.onnx", "plan": folder / "plan.json"},
        settings=Settings(load_recipe(into / "recipe.yaml"), None),
        samples=unused,
        store=Store(into / "store", lambda text: None),
        threads=2,
        progress=Silent(),
    )
    return dict(lower.STAGE.make(work))


def assert_does_the_same(lab: Any, made: Any, into: Path) -> None:
    carry_out(made.folder, lab.RECIPE, into)
    runners = {
        "float": open_runner("onnx", made.folder / "float.onnx", None, 2),
        "qdq": open_runner("onnx", made.folder / "qdq.onnx", None, 2),
        "tflite": open_runner("tflite", into / lower.TFLITE, None, 2),
    }
    logits = {name: runner(made.crops) for name, runner in runners.items()}
    ours, theirs = (sqnr_db(logits[name], logits["float"]) for name in ("tflite", "qdq"))
    assert theirs > 8, "the quantized model is too far from the float one to tell anything"
    # Not closer: the mean of four integers is often half way, which LiteRT rounds away from zero
    # and ONNX Runtime to even (resnet18d).
    assert abs(ours - theirs) < 1.5
    assert sqnr_db(logits["tflite"], logits["qdq"]) > theirs - 1.5
    assert agreement(logits["tflite"], logits["qdq"]) >= 0.9


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", QUICK)
def test_small_architectures(
    lab: Any, quantized: Any, tmp_path: Path, name: str, options: Any
) -> None:
    assert_does_the_same(lab, quantized(name, options), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", SLOW)
def test_more_architectures(
    lab: Any, quantized: Any, tmp_path: Path, name: str, options: Any
) -> None:
    assert_does_the_same(lab, quantized(name, options, SLOW[name]), tmp_path)


def test_the_input_is_the_pictures_own_bytes(lab: Any, quantized: Any, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    made = quantized("test_resnet", PER_TENSOR)
    carry_out(made.folder, lab.RECIPE, tmp_path)
    path = tmp_path / lower.TFLITE
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    [entry], [out] = interpreter.get_input_details(), interpreter.get_output_details()
    assert (entry["name"], entry["dtype"], entry["shape"].tolist()) == (
        "input", np.uint8, [1, 64, 64, 3],
    )  # fmt: skip
    assert entry["quantization"] == (pytest.approx(1 / 127.5), 127)
    scale, zero_point = out["quantization"]
    expected = open_runner("tflite", path, None, 1)(made.crops)
    for crop, logits in zip(made.crops, expected, strict=True):
        interpreter.set_tensor(entry["index"], crop[None])
        interpreter.invoke()
        integers = interpreter.get_tensor(out["index"]).astype(np.float64)[0]
        np.testing.assert_allclose((integers - zero_point) * scale, logits, rtol=1e-6)


def test_the_same_bytes_again(lab: Any, quantized: Any, tmp_path: Path) -> None:
    made = quantized("test_resnet", PER_CHANNEL)
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        carry_out(made.folder, lab.RECIPE, tmp_path / name)
        contents.append((tmp_path / name / lower.TFLITE).read_bytes())
        assert {p.name for p in (tmp_path / name).iterdir()} == {"recipe.yaml", lower.TFLITE}
    assert contents[0] == contents[1]


def test_labels_travel_where_the_classes_are_the_datasets(
    lab: Any, quantized: Any, tmp_path: Path
) -> None:
    made = quantized("test_resnet", PER_TENSOR)
    assert carry_out(made.folder, lab.RECIPE, tmp_path) == {"labels": None}  # 10 of ImageNet's
    assert not zipfile.is_zipfile(tmp_path / lower.TFLITE)
    digits = lab.RECIPE.replace("dataset: imagenet", "dataset: digits")
    assert carry_out(made.folder, digits, tmp_path) == {"labels": 10}
    with zipfile.ZipFile(tmp_path / lower.TFLITE) as archive:
        assert archive.read("labels.txt").decode().split() == [*"0123456789"]


def test_names_of_classes() -> None:
    names = class_names("imagenet", 1000)
    assert names is not None and len(names) == 1000
    assert (names[0], names[999]) == (
        "tench, Tinca tinca",
        "toilet tissue, toilet paper, bathroom tissue",
    )
    assert class_names("imagenet", 1001) == ("background", *names)
    assert class_names("imagenet", 999) is None
    assert class_names("digits", 10) == tuple("0123456789")


def test_a_plan_of_another_graph(lab: Any, quantized: Any, tmp_path: Path) -> None:
    made = quantized("test_resnet", PER_TENSOR)
    plan = load_plan(made.folder / "plan.json")
    save_plan(plan.model_copy(update={"graph_sha256": "1" * 64}), made.folder / "plan.json")
    with pytest.raises(StageError, match="the Plan belongs to another Graph"):
        carry_out(made.folder, lab.RECIPE, tmp_path)
    assert not (tmp_path / lower.TFLITE).exists()


def test_what_has_no_place_leaves_no_file(lab: Any, quantized: Any, tmp_path: Path) -> None:
    made = quantized("test_convnext", PER_TENSOR)
    with pytest.raises(StageError, match=r"no place in TFLite for .* x Pow \(first pow1, "):
        carry_out(made.folder, lab.RECIPE, tmp_path)
    assert not (tmp_path / lower.TFLITE).exists()


# The stage in a run


def run(lab: Any, tiny: Path, tmp_path: Path, *words: str) -> Any:
    name, *rest = words
    recipe, artifacts = str(tiny / "tiny.yaml"), str(tmp_path)
    argv = [sys.executable, "-m", "pipeline", name, recipe, "--artifacts", artifacts]
    return lab.call([*argv, "--until", "lower", *rest])


FIXED = ["--set", "quantize.data_type=int16", "--set", "quantize.scheme=dynamic_fixed_point"]


def test_a_plan_without_tflite_form_is_skipped_and_says_why(
    lab: Any, tiny: Path, tmp_path: Path
) -> None:
    done = run(lab, tiny, tmp_path, "run", "--threads", "2", *FIXED)
    assert done.code == 0, done.err
    assert "lower: SKIPPED: int16 with dynamic_fixed_point is SyNAP's own form" in done.out
    report = json.loads((tmp_path / "tiny" / "until-lower" / "report.json").read_text())
    stage = report["stages"][-1]
    assert (stage["name"], stage["artifact"]) == ("lower", None)
    assert (stage["check"]["verdict"], stage["check"]["images"]) == ("SKIPPED", 0)
    assert not (tmp_path / ".store" / "lower").exists()
    assert "skipped: int16" in run(lab, tiny, tmp_path, "plan", *FIXED).out
    # A check that the recipe requires is not passed by being skipped.
    required = [*FIXED, "--set", "checks.lower={max_top1_drop: 0.1}"]
    done = run(lab, tiny, tmp_path, "run", "--threads", "2", *required)
    assert done.code == 1, done.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        (PER_CHANNEL, None),
        ({"data_type": "int8", "scheme": "dynamic_fixed_point"}, "SyNAP's own form"),
        ({"data_type": "int16", "scheme": "dynamic_fixed_point"}, "SyNAP's own form"),
        ({"layers": {"conv1": "int16"}}, "layers with a type of their own"),
        ({"layers": {"conv1": "float16"}}, "layers with a type of their own"),
    ],
)
def test_when_it_is_skipped(tiny: Path, options: Any, reason: str | None) -> None:
    file = load_recipe(tiny / "tiny.yaml")
    recipe = file.recipe.model_copy(update={"quantize": Quantize(**options)})
    settings: Any = SimpleNamespace(recipe=SimpleNamespace(recipe=recipe))
    said = lower.STAGE.skip(settings)
    assert said is None if reason is None else reason in (said or "")


def test_an_operator_without_a_place_leaves_the_chain_going(lab: Any, tmp_path: Path) -> None:
    """Nothing behind `lower` takes its result here, so the bundle is made all the same, and the
    report says which operators stood in the way."""
    import torch
    from safetensors.torch import save_file

    from pipeline.sources.timm_models import build

    torch.manual_seed(0)
    save_file(build("test_convnext", 10).state_dict(), tmp_path / "weights.safetensors")
    lab.write_images(tmp_path / "images", per_class=4)
    recipe = lab.RECIPE.replace("name: test_resnet", "name: test_convnext")
    recipe = recipe.replace("  weights: {min_top1: 0.5}\n", "").replace(
        "max_top1_drop: 0.2", "min_top1: 0.001"
    )
    (tmp_path / "recipe.yaml").write_text(recipe)
    done = lab.pipeline_run(tmp_path / "recipe.yaml", tmp_path / "artifacts", "--target", "sl1680")
    assert done.code == 0, done.err
    [lower] = [stage for stage in done.json["stages"] if stage["name"] == "lower"]
    assert lower["artifact"] is None
    assert lower["check"]["verdict"] == "SKIPPED"
    assert "no place in TFLite" in lower["check"]["reason"]
    assert (tmp_path / "artifacts" / "recipe" / "sl1680" / "model.synap").is_file()
