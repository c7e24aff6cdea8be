"""A model that comes as TFLite, float or quantized, on the chain that its recipe gives it."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import yaml
from ai_edge_litert import schema_py_generated as schema

from pipeline.command import unattainable
from pipeline.data.digest_index import DigestIndex
from pipeline.data.draw import draw_samples
from pipeline.engine import StageResult, run
from pipeline.errors import StageError
from pipeline.graph.file import load_graph, preprocess_in
from pipeline.job import Job
from pipeline.lower.model_file import ModelFile
from pipeline.progress import Silent
from pipeline.recipe_file import load_recipe
from pipeline.report.json_report import build_report
from pipeline.runners import open_runner
from pipeline.stages import check_chain, compile_tflite, import_tflite
from pipeline.stages.stage import Stage
from pipeline.store import Store
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.handover import Handover, decide_handover
from pipeline.targets import load_target

FLOAT = (import_tflite.FLOAT,)
QUANTIZED = (import_tflite.QUANTIZED, compile_tflite.STAGE)
RECIPE = """\
schema: 1
model: {{source: onnx, name: brought, label_offset: {offset}}}
data:
  preprocess: {{size: {size}, interpolation: {filter}, crop: {crop}, mean: [{mean}, {mean}, {mean}], std: [{std}, {std}, {std}]}}
  calibration: {{dataset: imagenet, images: 4}}
  evaluation: {{dataset: imagenet, images: all}}
  uneven_classes: accept
quantize: {{ranges: {{rule: minmax}}}}
compile: {{toolkit: native}}
checks:
  lower: {{min_top1: 0.5}}
  compile: {{min_top1: 0.5, accept: predicted}}
"""
"""`source` is not looked at: the tests name the chain themselves."""
TINY = {"size": 64, "filter": "bilinear", "crop": 1.0, "mean": 0.5, "std": 0.5, "offset": 0}


@dataclass
class Outcome:
    stages: dict[str, StageResult]
    notes: list[str]
    report: Any


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test double of the converter on the PATH."""
    program = Path(__file__).parents[1] / "synap" / "stand_in" / "synap_convert.py"
    script = tmp_path / "bin" / "synap_convert"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(program))} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SYNAP_STAND_IN", raising=False)


def carry_out(
    file: Path, images: Path, folder: Path, chain: tuple[Stage, ...],
    handover: Handover | None = None, **words: Any,
) -> Outcome:  # fmt: skip
    """Run a chain on a file; raise the failure of a target."""
    check_chain(chain)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "brought.yaml").write_text(RECIPE.format(**{**TINY, **words}))
    recipe = load_recipe(folder / "brought.yaml")
    targets = (load_target("sl1680"),)
    job = Job(recipe, targets, chain, file, images, folder / "artifacts", 2)
    store, progress = Store(job.store_root, lambda text: None), Silent()
    index = DigestIndex(folder / "images.json")
    samples = draw_samples(recipe.recipe.data, images, folder, index, progress)
    assert unattainable(job, len(samples.evaluation)) == []
    handover = handover or decide_handover(recipe.recipe.compile)
    (result,) = run(job, samples, handover, store, progress)
    if result.failure is not None:
        raise result.failure
    report = build_report(job, result, samples, handover)
    return Outcome({stage.name: stage for stage in result.stages}, progress.notes, report)


def edited(content: bytes, edit: Callable[[Any], None]) -> bytes:
    """The file after `edit` has changed the schema's object of its model."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    edit(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def without_metadata(file: Path, folder: Path) -> Path:
    def bare(model: Any) -> None:
        model.metadata = []

    written = folder / "bare.tflite"
    written.write_bytes(edited(file.read_bytes(), bare))
    return written


# Float


def float_classifier(
    path: Path, classes: int = 10, size: int = 64, *, softmax: bool = False, rescale: bool = False
) -> Path:
    """A convolution by strides, a mean and a linear layer with seeded weights; `rescale` halves the
    input first."""
    random, file = np.random.default_rng(0), ModelFile()

    def constant(*shape: int) -> Any:
        return file.constant(
            f"c{random.integers(1 << 30)}", random.normal(0, 0.5, shape).astype(np.float32)
        )

    image = file.tensor("image", (1, size, size, 3), "float32", None)
    source = image
    if rescale:
        source = file.tensor("rescaled", (1, size, size, 3), "float32", None)
        by = file.constant("by", np.array([0.5], np.float32))
        file.operator("MUL", 1, [image, by], source, schema.MulOptionsT())
    half = file.tensor("half", (1, size // 2, size // 2, 8), "float32", None)
    file.operator(
        "CONV_2D", 1, [source, constant(8, 3, 3, 3), constant(8)], half,
        schema.Conv2DOptionsT(padding=schema.Padding.SAME, strideH=2, strideW=2,
                              fusedActivationFunction=schema.ActivationFunctionType.RELU6),
    )  # fmt: skip
    row = file.tensor("row", (1, 8), "float32", None)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 1, [half, axes], row, schema.ReducerOptionsT(keepDims=False))
    scores = file.tensor("scores", (1, classes), "float32", None)
    file.operator(
        "FULLY_CONNECTED", 1, [row, constant(classes, 8), constant(classes)], scores,
        schema.FullyConnectedOptionsT(),
    )  # fmt: skip
    if softmax:
        logits, scores = scores, file.tensor("softmax", (1, classes), "float32", None)
        file.operator("SOFTMAX", 1, [logits], scores, schema.SoftmaxOptionsT(beta=1.0))
    path.write_bytes(file.to_bytes([image], [scores], "float", {}))
    return path


def test_a_float_model_becomes_the_reference(lab: Any, tiny: Path, tmp_path: Path) -> None:
    file = float_classifier(tmp_path / "float.tflite", 1000)
    outcome = carry_out(file, tiny / "images", tmp_path / "run", FLOAT)
    stage = outcome.stages["export"]
    assert stage.artifact is not None and stage.artifact.format == "onnx"
    assert 0 < stage.details["largest_difference"] < 1e-4
    assert (stage.check.top1_drop, stage.check.images) == (0.0, 76)
    graph = load_graph(stage.artifact.path)
    assert preprocess_in(graph, "") == lab.view_of(mean=(0.5,) * 3, std=(0.5,) * 3)
    crops = lab.crops_of(preprocess_in(graph, ""), 5)
    ours = open_runner("onnx", stage.artifact.path, None, 1)(crops)
    theirs = open_runner("tflite", file, preprocess_in(graph, "").normalization, 1)(crops)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_a_last_softmax_is_left_out(tiny: Path, tmp_path: Path) -> None:
    """So that the Graph is that of the same file without it, and is proved on the logits."""
    graphs = []
    for softmax in (False, True):
        file = float_classifier(tmp_path / "float.tflite", softmax=softmax)
        folder = tmp_path / str(softmax)
        outcome = carry_out(file, tiny / "images", folder, FLOAT)
        stage = outcome.stages["export"]
        assert stage.artifact is not None
        assert stage.details["stripped"] == ("Softmax" if softmax else None)
        assert len(outcome.notes) == softmax
        graphs.append([node.op_type for node in load_graph(stage.artifact.path).graph])
    assert graphs[0] == graphs[1] and graphs[0][-1] == "Gemm"


def test_what_the_model_does_to_its_input(tiny: Path, tmp_path: Path) -> None:
    file = float_classifier(tmp_path / "float.tflite", rescale=True)
    outcome = carry_out(file, tiny / "images", tmp_path / "run", FLOAT)
    stage = outcome.stages["export"]
    assert stage.artifact is not None
    graph = load_graph(stage.artifact.path)
    assert "Mul" not in [node.op_type for node in graph.graph]
    assert preprocess_in(graph, "").std == pytest.approx((1.0,) * 3)
    assert "normalizes its input itself" in outcome.notes[0]
    assert stage.details["largest_difference"] < 1e-4


def test_a_float_model_is_quantized_like_any_other(tiny: Path, tmp_path: Path) -> None:
    from pipeline.stages import lower, quantize

    file = float_classifier(tmp_path / "float.tflite", 1000)
    chain = (*FLOAT, quantize.WITHOUT_EQUALIZE, lower.STAGE)
    outcome = carry_out(file, tiny / "images", tmp_path / "run", chain)
    assert outcome.stages["lower"].check.agreement > 0.9
    assert outcome.stages["lower"].check.top1_drop is not None


def test_a_class_before_the_others_is_asked_about(tiny: Path, tmp_path: Path) -> None:
    """Until the recipe has it, although the model is not brought in again for that."""
    file = float_classifier(tmp_path / "float.tflite", 1001)

    def cautions(**words: Any) -> str:
        outcome = carry_out(file, tiny / "images", tmp_path / "run", FLOAT, **words)
        return str(outcome.stages["export"].details["cautions"])

    assert "1001 outputs for 1000 classes" in cautions()
    assert "1001 outputs for 1000 classes" not in cautions(offset=1)


def test_labels_beyond_the_outputs(tiny: Path, tmp_path: Path) -> None:
    file = float_classifier(tmp_path / "float.tflite", 10)
    with pytest.raises(StageError, match="there are 10 outputs, and labels moved by 1 go up to 10"):
        carry_out(file, tiny / "images", tmp_path / "run", FLOAT, offset=1)


def test_another_size(tiny: Path, tmp_path: Path) -> None:
    file = float_classifier(tmp_path / "float.tflite")
    with pytest.raises(StageError, match=r"its input is 64x64, but data\.preprocess gives 96x96"):
        carry_out(file, tiny / "images", tmp_path / "run", FLOAT, size=96)


def test_a_function_that_differs_is_no_result(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.lift import operators, pooling

    monkeypatch.setitem(operators.OPERATORS, "MEAN", _wrong(pooling.lift_mean))
    file = float_classifier(tmp_path / "float.tflite")
    with pytest.raises(StageError, match="the Graph is not the same function: a logit differs by"):
        carry_out(file, tiny / "images", tmp_path / "run", FLOAT)
    assert not list((tmp_path / "run" / "artifacts").rglob("*.onnx"))


def _wrong(lift: Any) -> Any:
    def twice(lifting: Any, operator: Any) -> Any:
        value = lift(lifting, operator)
        return lifting.emit("Add", operator, [value, value])

    return twice


# Quantized


@pytest.fixture(scope="session")
def integer(first_run: Any) -> tuple[Path, Any]:
    """A TFLite file of our own `lower`, and what that stage measured."""
    setting, done = first_run
    assert done.code == 0, done.err
    [stage] = [stage for stage in setting.report()["stages"] if stage["name"] == "lower"]
    return setting.artifacts / stage["artifact"]["path"], stage["check"]


def test_a_quantized_model_is_measured_and_compiled(
    toolkit: None, tiny: Path, integer: Any, tmp_path: Path
) -> None:
    file, lowered = integer
    outcome = carry_out(file, tiny / "images", tmp_path / "run", QUANTIZED)
    brought, compiled = outcome.stages["lower"], outcome.stages["compile"]
    assert brought.artifact is not None and brought.artifact.path.read_bytes() == file.read_bytes()
    assert brought.details["operators"]["CONV_2D"] > 3
    assert brought.check.verdict == "PASS" and brought.check.top1 > 0.5
    assert lowered["top1"] == pytest.approx(
        brought.check.top1, abs=0.1
    )  # other images are held out
    assert compiled.artifact is not None
    assert read_bundle(compiled.artifact.path).delegates == ("npu",)
    assert compiled.details["faults"] == []
    assert "scales, zero points and means as handed over" in compiled.details["verified"]
    assert (compiled.check.evidence, compiled.check.verdict) == ("predicted", "PASS")
    for check in (brought.check, compiled.check):
        assert (check.top1_drop, check.confidence_interval, check.kl_divergence) == (None,) * 3
    assert compiled.check.step_drop == 0.0
    json.dumps(outcome.report, allow_nan=False)
    assert outcome.report["verdict"] == "PASS"


def test_scales_that_came_back_changed(
    toolkit: None, tiny: Path, integer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAP_STAND_IN", "requantized")
    outcome = carry_out(integer[0], tiny / "images", tmp_path / "run", QUANTIZED)
    check = outcome.stages["compile"].check
    assert check.verdict == "FAIL" and "was quantized again" in check.reason


def test_a_file_that_says_nothing_is_read_as_the_recipe_says(
    toolkit: None, tiny: Path, integer: Any, tmp_path: Path
) -> None:
    file = without_metadata(integer[0], tmp_path)
    words = {"mean": 127 / 255, "std": 0.5}  # the grid of the input's own
    exact = carry_out(file, tiny / "images", tmp_path / "exact", QUANTIZED, **words)
    whole = carry_out(integer[0], tiny / "images", tmp_path / "whole", QUANTIZED)
    assert exact.stages["lower"].check.top1 == whole.stages["lower"].check.top1
    assert exact.notes == []
    near = carry_out(file, tiny / "images", tmp_path / "near", QUANTIZED)
    [note] = near.notes
    assert "mean 0.498039 and std 0.500000" in note
    far = carry_out(file, tiny / "images", tmp_path / "far", QUANTIZED, std=0.25)
    assert "is cut off" in far.notes[0]


def test_a_changed_preprocessing_reaches_the_bundle(
    toolkit: None, tiny: Path, integer: Any, tmp_path: Path
) -> None:
    """The file does not say it, and is the same."""
    file = without_metadata(integer[0], tmp_path)

    def means(**words: Any) -> Any:
        outcome = carry_out(file, tiny / "images", tmp_path / "run", QUANTIZED, **words)
        artifact = outcome.stages["compile"].artifact
        assert artifact is not None
        return yaml.safe_load(artifact.path.with_name("metafile.yaml").read_text())["inputs"][0]

    before, after = means(mean=127 / 255), means(mean=0.25)
    assert (before["means"], after["means"]) == ([127.0] * 3, [63.75] * 3)


def test_without_the_toolkit_there_is_no_bundle(tiny: Path, integer: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no CPU bundle") as caught:
        carry_out(integer[0], tiny / "images", tmp_path / "run", QUANTIZED, Handover("cpu"))
    assert "--until lower" in caught.value.hint


def test_each_kind_is_told_from_the_other(tiny: Path, integer: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is quantized already, to uint8") as caught:
        carry_out(integer[0], tiny / "images", tmp_path / "a", FLOAT)
    assert "source: quantized-tflite" in caught.value.hint
    file = float_classifier(tmp_path / "float.tflite")
    with pytest.raises(StageError, match="is a float model"):
        carry_out(file, tiny / "images", tmp_path / "b", QUANTIZED[:1])


def test_what_is_no_tflite(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.tflite"
    for content in (b"", b"\x08\0\0\0TFL3", b"onnx" * 100):
        file.write_bytes(content)
        for chain in (FLOAT, QUANTIZED[:1]):
            with pytest.raises(StageError, match="is not a readable TFLite model"):
                carry_out(file, tiny / "images", tmp_path / "run", chain)


@pytest.mark.slow
def test_the_vendors_mobilenet_keeps_its_accuracy(toolkit: None, tmp_path: Path) -> None:
    """88.6 % of the 500 pictures, with the pictures' own bytes."""
    sample = os.environ.get("PIPELINE_SAMPLE_DATA", "")
    if not sample or not Path(sample).is_dir():
        pytest.skip("PIPELINE_SAMPLE_DATA names no folder with the MobileNet V2 sample")
    outcome = carry_out(
        Path(sample) / "mobilenet_v2_1.0_224_quant.tflite", Path(sample) / "imagenet-sample",
        tmp_path / "run", QUANTIZED, size=224, filter="bicubic", crop=0.875, mean=128 / 255,
        std=128 / 255, offset=1,
    )  # fmt: skip
    brought, compiled = outcome.stages["lower"], outcome.stages["compile"]
    assert brought.check.images == 496  # four are the calibration's
    assert abs(brought.check.top1 - 0.886) < 0.009
    assert outcome.notes == []
    assert (compiled.details["faults"], compiled.check.verdict) == ([], "PASS")
    assert compiled.artifact is not None
    labels = json.loads((compiled.artifact.path.parent / "info.json").read_text())["labels"]
    assert (len(labels), labels[0]) == (1001, "background")
