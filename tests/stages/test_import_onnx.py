"""The stages for ONNX that others made, float and QDQ, as the engine carries them out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import digest_of_path
from pipeline.errors import StageError
from pipeline.progress import Silent
from pipeline.quant.plan import load_plan
from pipeline.runners import open_runner
from pipeline.stages import check_chain, import_onnx, import_qdq, lower, quantize
from pipeline.stages.compile import STAGE as COMPILE
from pipeline.stages.stage import Settings, Stage, Work

SIZE = 64


def classifier(*, softmax: bool = True) -> onnx.ModelProto:
    random = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "d"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (10, 8), "d": (10,)}
    graph = helper.make_graph(
        nodes if softmax else nodes[:-1],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y" if softmax else "z", TensorProto.FLOAT, [1, 10])],
        [
            numpy_helper.from_array(random.normal(0, 0.5, shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


class Bench:
    """A stage's surroundings in a folder."""

    def __init__(self, root: Path, lab: Any) -> None:
        from pipeline.recipe_file import load_recipe

        self.root, self.file = root, root / "mine.onnx"
        (root / "recipe.yaml").write_text(lab.RECIPE)
        self.settings = Settings(
            load_recipe(root / "recipe.yaml"), self.file, preprocess=lab.view_of(SIZE)
        )
        self.progress = Silent()

    def make(self, stage: Stage, taken: dict[str, Path]) -> tuple[dict[str, Path], dict[str, Any]]:
        """What the stage gives, and its details as they are recorded."""
        from pipeline.store import Store

        folder = self.root / f"made {stage.name}"
        folder.mkdir(exist_ok=True)
        unused: Any = None
        store = Store(self.root / "store", lambda text: None)
        work = Work(folder, taken, self.settings, unused, store, 2, self.progress)
        details = json.loads(json.dumps(dict(stage.make(work))))
        return {name: folder / file for name, file in stage.gives.items()}, details


@pytest.fixture
def bench(tmp_path: Path, lab: Any) -> Bench:
    return Bench(tmp_path, lab)


def test_a_float_model(bench: Bench, lab: Any) -> None:
    onnx.save(classifier(), bench.file)
    assert import_onnx.STAGE.missing(bench.settings) == []
    given, details = bench.make(import_onnx.STAGE, {})
    assert (details["opset"], details["batch"], details["stripped"]) == (11, 1, "Softmax")
    assert details["proof"]["largest_difference"] < 1e-4 < details["proof"]["largest_logit"]
    assert bench.progress.notes == ["the Softmax at the model's end is left out: logits are kept"]
    # The user's own file, run by the runner itself, one image at a time.
    onnx.save(classifier(softmax=False), bench.root / "logits.onnx")
    view = bench.settings.model_input
    crops = lab.crops_of(view, 3)
    expected = open_runner("onnx", bench.root / "logits.onnx", view.normalization, 1)(crops)
    made = open_runner("onnx", given["graph"], None, 1)(crops)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_the_key_knows_the_external_data(bench: Bench) -> None:
    onnx.save(classifier(), bench.file, save_as_external_data=True, location="w", size_threshold=0)
    before = import_onnx.STAGE.options(bench.settings)
    bench.make(import_onnx.STAGE, {})
    data = bytearray((bench.root / "w").read_bytes())
    data[5] ^= 1
    (bench.root / "w").write_bytes(data)
    after = import_onnx.STAGE.options(bench.settings)
    assert before["file"] == after["file"] == digest_of_path(bench.file)
    assert before["external"] != after["external"]
    (bench.root / "w").unlink()
    [missing] = import_onnx.STAGE.missing(bench.settings)
    assert "there is no such file beside it" in missing.what


@pytest.fixture
def qdq(bench: Bench, lab: Any) -> Bench:
    """The classifier as ONNX Runtime quantizes it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    view = bench.settings.model_input
    crops = iter(lab.crops_of(view, 4))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            crop = next(crops, None)
            return None if crop is None else {"x": view.normalization.apply(crop[None])}

    model = classifier()
    model.opset_import[0].version = 13
    onnx.save(model, bench.root / "float.onnx")
    quantize_static(
        bench.root / "float.onnx", bench.file, Reader(), quant_format=QuantFormat.QDQ,
        per_channel=True,
    )  # fmt: skip
    return bench


def test_a_quantized_model(qdq: Bench, lab: Any) -> None:
    given, details = qdq.make(import_qdq.EXPORT, {})
    assert (details["data_type"], details["scheme"]) == ("int8", "perchannel_symmetric_affine")
    made, about = qdq.make(import_qdq.QUANTIZE, given)
    assert about["proof"]["largest_difference"] == 0.0
    plan = load_plan(made["plan"])
    assert plan.graph_sha256 == digest_of_path(made["base"]) == digest_of_path(given["graph"])
    # What stands behind takes it as it takes our own.
    lowered, _ = qdq.make(lower.STAGE, {"base": made["base"], "plan": made["plan"]})
    crops = lab.crops_of(qdq.settings.model_input, 6)
    runs = [
        open_runner(form, path, None, 1)(crops)  # type: ignore[arg-type]
        for form, path in (("qdq-onnx", made["qdq"]), ("tflite", lowered["tflite"]))
    ]
    assert np.abs(runs[0] - runs[1]).max() <= 2.001 * plan.activations["logits"].scale[0]


def test_the_chain_holds_together() -> None:
    stages = (import_qdq.EXPORT, import_qdq.QUANTIZE, lower.STAGE, COMPILE)
    check_chain(stages)
    assert set(quantize.STAGE.gives) == set(import_qdq.QUANTIZE.gives)


def test_a_rendering_that_is_not_the_file_is_an_error(qdq: Bench) -> None:
    given, _ = qdq.make(import_qdq.EXPORT, {})
    plan = json.loads(given["imported"].read_text())
    plan["activations"]["relu1" if "relu1" in plan["activations"] else "conv1"]["scale"] = [0.3]
    given["imported"].write_text(json.dumps(plan))
    with pytest.raises(StageError, match="as Graph and Plan it gives other logits"):
        qdq.make(import_qdq.QUANTIZE, given)


def test_each_source_sends_to_the_other(qdq: Bench) -> None:
    with pytest.raises(StageError, match=r"is quantized already.*\n.*source: quantized-onnx"):
        qdq.make(import_onnx.STAGE, {})
    onnx.save(classifier(), qdq.file)
    with pytest.raises(StageError, match=r"is not quantized.*\n.*source: onnx"):
        qdq.make(import_qdq.EXPORT, {})


def test_a_models_own_deviations_that_nothing_folds(lab: Any, tiny: Path, tmp_path: Path) -> None:
    """The recipe's are equal; those that the model divides by are refused before it is quantized."""
    model = classifier()
    deviations = np.array([0.2, 0.3, 0.4], np.float32).reshape(1, 3, 1, 1)
    model.graph.initializer.append(numpy_helper.from_array(deviations, "deviations"))
    model.graph.node[0].input[0] = "divided"
    model.graph.node.insert(0, helper.make_node("Div", ["x", "deviations"], ["divided"]))
    onnx.save(model, tmp_path / "m.onnx")
    view = f"{{size: {SIZE}, crop: 1.0, mean: [0, 0, 0], std: [1, 1, 1]}}"
    (tmp_path / "m.yaml").write_text(
        "schema: 1\nmodel: {source: onnx, name: m, weights: m.onnx}\nequalize: null\n"
        f"data:\n  preprocess: {view}\n  folder: {tiny / 'images'}\n  uneven_classes: accept\n"
        "  calibration: {dataset: imagenet, images: 4}\n"
        "  evaluation: {dataset: imagenet, images: 8}\n"
        "quantize: {ranges: {rule: minmax}}\ncompile: {delegate: cpu}\n"
    )
    done = lab.pipeline_run(tmp_path / "m.yaml", tmp_path / "artifacts")
    assert done.code == 2, done.err
    assert "SyNAP knows one deviation for all channels of the input, but std is [0.2" in done.err
    assert not (tmp_path / "artifacts" / ".store" / "quantize").exists()
    until = lab.pipeline_run(tmp_path / "m.yaml", tmp_path / "artifacts", "--until", "quantize")
    assert until.code == 0, until.err
