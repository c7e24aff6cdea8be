"""A published figure and the images that the first stage looks at for it."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pipeline.artifact import Artifact, digest_of_path
from pipeline.check.result import Check
from pipeline.data.imagenet import open_imagenet
from pipeline.data.samples import Sample, Samples
from pipeline.data.timm_lists import imagenet_synsets
from pipeline.evaluation import looks
from pipeline.evaluation.evaluator import Evaluator, right_answers
from pipeline.evaluation.looks import Looks
from pipeline.evaluation.published_check import check_first_stage
from pipeline.evaluation.stage_check import Made
from pipeline.progress import Silent
from pipeline.recipe_file import load_recipe
from pipeline.stages import import_onnx
from pipeline.stages.stage import Settings
from pipeline.store import Store

CLASSES = 1000
WRONG = 40
"""Classes that the model gives to others, so that its top-1 is 96 %."""
RECIPE = """\
schema: 1
model:
  source: onnx
  name: colours
  label_offset: {offset}
  sha256: {digest}
  published: {{top1: {top1}, dataset: imagenet, reference: "a test"}}
data:
  preprocess: {{size: 2, crop: 1.0, mean: [0.0, 0.0, 0.0], std: [1.0, 1.0, 1.0]}}
  selection: {{dataset: imagenet, images: 1}}
  calibration: {{dataset: imagenet, images: 1}}
  evaluation: {{dataset: imagenet, images: {images}}}
checks:
  export: {{{limits}}}
"""


def colour(label: int) -> tuple[int, int, int]:
    return label % 10 * 25, label // 10 % 10 * 25, label // 100 * 25


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A validation image of each class, in a colour of its own."""
    folder = tmp_path_factory.mktemp("val")
    for synset, label in imagenet_synsets().items():
        (folder / synset).mkdir()
        picture = folder / synset / f"ILSVRC2012_val_{label + 1:08}.png"
        Image.new("RGB", (2, 2), colour(label)).save(picture)
    return folder


def write_model(path: Path, offset: int) -> None:
    """The nearest colour's class: `2 x·c - |c|²` is largest for it."""
    colours = np.array([colour(label) for label in range(CLASSES)], np.float32) / 255
    colours[:WRONG] = colours[:WRONG][::-1].copy()
    weights, bias = 2 * colours.T, -(colours**2).sum(1)
    # The background is never the answer.
    weights = np.pad(weights, ((0, 0), (offset, 0)))
    bias = np.pad(bias, (offset, 0), constant_values=-100)
    outputs = CLASSES + offset
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(weights.astype(np.float32), "w"),
         numpy_helper.from_array(bias.astype(np.float32), "b")],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )


@pytest.fixture
def checked(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The first stage's check; the first of its parts is small."""
    monkeypatch.setattr(looks, "FIRST", 16)

    def run(
        top1: float,
        number: str = "auto",
        limits: str = "",
        offset: int = 0,
        folder: Path = images,
        drawn: int = CLASSES,
    ) -> Check:
        model = tmp_path / "model.onnx"
        write_model(model, offset)
        artifact = Artifact(model, "onnx", digest_of_path(model), model.stat().st_size)
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            RECIPE.format(
                offset=offset, digest=artifact.sha256, top1=top1, images=number, limits=limits
            )
        )
        file = load_recipe(recipe)
        dataset = open_imagenet(folder)
        items = (
            Sample(id, label, hashlib.sha256(dataset.content(id)).hexdigest())
            for id, label in dataset.listing()
        )
        order = sorted(items, key=lambda item: item.digest)
        samples = Samples("evaluation", dataset, tuple(order[:drawn]))
        store = Store(tmp_path / "store", lambda text: None)
        settings = Settings(file, None, file.recipe.data.preprocess)
        outputs, check = check_first_stage(
            Made(import_onnx.STAGE, artifact), settings, None,
            Looks(samples, number == "auto"), Evaluator(store, 1, Silent()),
        )  # fmt: skip
        assert outputs is not None
        return check

    return run


@pytest.mark.parametrize("offset", [0, 1])
def test_auto_looks_at_as_many_images_as_a_figure_takes(checked: Any, offset: int) -> None:
    check = checked(0.97, offset=offset)
    # 643 would do, and a part ends there at 768.
    assert (check.published, check.images) == ("PASS", 768)
    assert "on 768 images" in check.reason


def test_a_contradicted_figure_fails(checked: Any) -> None:
    check = checked(0.90)
    assert (check.published, check.verdict, check.required) == ("FAIL", "FAIL", True)


def test_too_few_images_are_all_looked_at(checked: Any) -> None:
    check = checked(0.945)
    assert (check.published, check.images) == ("UNDECIDED", CLASSES)


def test_a_figure_is_not_held_to_a_number_that_the_answers_chose(checked: Any) -> None:
    """A top-1 near its limit is judged on all images; those that are looked at for the figure are
    as many as before."""
    check = checked(0.97, limits="min_top1: 0.96")
    assert (check.published, check.images) == ("PASS", CLASSES)
    assert "on 768 images" in check.reason


def test_a_fixed_number_stays(checked: Any) -> None:
    assert checked(0.97, number="all").images == CLASSES


def test_chance_may_leave_classes_out(checked: Any) -> None:
    """The images are drawn from all classes alike; some few thousand of them never have them all."""
    assert checked(0.97, drawn=800).published == "PASS"


def test_figures_that_cannot_be_held_cost_nothing(checked: Any, tmp_path: Path) -> None:
    """Validation images in one folder, which without a ground truth beside them are labelled by
    ReaL: the figure is of other labels."""
    folder = tmp_path / "flat"
    folder.mkdir()
    content = io.BytesIO()
    for number in range(1, 101):
        content = io.BytesIO()
        Image.new("RGB", (2, 2), (number, 0, 0)).save(content, "PNG")
        (folder / f"ILSVRC2012_val_{number:08}.JPEG").write_bytes(content.getvalue())
    check = checked(0.9, folder=folder)
    assert (check.published, check.images) == ("SKIPPED", 16)
    assert "ReaL labels, with which accuracies are higher" in check.reason


def test_right_answers_are_counted_over_all_parts(tmp_path: Path) -> None:
    store = Store(tmp_path, lambda text: None)
    logits = np.eye(4, dtype=np.float32)

    def part(start: int) -> Any:
        def build(folder: Path) -> dict[str, Any]:
            np.save(folder / "logits.npy", logits[start : start + 2])
            return {}

        return store.get("outputs", {"start": start}, build)

    labels = np.array([0, 1, 2, 0])
    assert right_answers([part(0), part(2)], labels).tolist() == [True, True, True, False]
