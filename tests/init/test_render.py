"""Whatever was found, the text is a recipe that says it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.preprocess import Preprocess
from pipeline.errors import UsageError
from pipeline.init.findings import Findings, Images, ModelFindings, SourceWord, View
from pipeline.init.images import LIMITS
from pipeline.init.render import comment, path_in_recipe, render_recipe, scalar
from pipeline.recipe import DatasetName, SourceName
from pipeline.recipe_file import load_recipe

SOURCES = sorted(set(get_args(SourceWord)) & set(get_args(SourceName)))
QUANTIZED = ("quantized-onnx", "quantized-tflite")
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.sampled_from(
        ["null", "yes", "1e3", "# no", "a: b", "'", '"', "{x}", "- x", "\n", "\u2028", "\x85",
         "\x1b[31m", "{{ 7 * 7 }}", "%YAML", "...", "---", "&a *a", "\ufeff", "😀", "\u202e", "0x1f"]
    ),
)  # fmt: skip
PATHS = TEXTS.filter(lambda text: "\0" not in text).map(lambda text: Path("models") / text)
UNITS = st.floats(0, 1)
VIEWS = st.builds(
    Preprocess,
    size=st.integers(1, 4096),
    interpolation=st.sampled_from(["bilinear", "bicubic", "nearest"]),
    crop=st.floats(0.05, 1),
    mean=st.tuples(UNITS, UNITS, UNITS),
    std=st.tuples(*[st.floats(1e-9, 4)] * 3),
)
MODELS = st.builds(
    ModelFindings,
    source=st.sampled_from(SOURCES),
    name=TEXTS,
    file=st.none() | PATHS,
    description=TEXTS,
    outputs=st.integers(1, 2000),
    view=st.builds(
        View,
        preprocess=VIEWS,
        origin=TEXTS,
        own=st.just(False),
        guessed=st.sampled_from([(), ("mean", "std")]),
    ),
    quantized=st.just("uint8"),
    depthwise=st.booleans(),
    npu=st.lists(TEXTS, max_size=2).map(tuple),
    notes=st.lists(TEXTS, max_size=2).map(tuple),
)
IMAGES = st.builds(
    Images,
    dataset=st.sampled_from(get_args(DatasetName)),
    folder=PATHS,
    total=st.integers(8, 10**6),
    classes=st.integers(1, 2000),
    last_label=st.integers(0, 1999),
    uneven=st.lists(TEXTS, max_size=2).map(tuple),
    calibration=st.integers(1, 4),
    selection=st.integers(1, 3),
    auto=st.booleans(),
    limit=st.none() | st.sampled_from(LIMITS),
    smallest=UNITS,
    notes=st.lists(TEXTS, max_size=2).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(MODELS, IMAGES, TEXTS)
def test_every_text_is_a_recipe_that_says_what_was_found(
    tmp_path_factory: pytest.TempPathFactory, model: ModelFindings, images: Images, name: str
) -> None:
    if model.source in QUANTIZED:
        images = replace(images, calibration=1, selection=0, auto=False)
    else:
        model = replace(model, quantized=None)
    out = tmp_path_factory.getbasetemp() / "found.yaml"
    out.write_text(render_recipe(Findings(model, images), name, out), encoding="utf-8")
    recipe = load_recipe(out).recipe
    assert (recipe.model.source, recipe.model.name) == (model.source, model.name)
    assert recipe.model.label_offset == (model.outputs == 1001 and images.classes == 1000)
    assert recipe.data.preprocess == model.view.preprocess
    for path, said in ((model.file, recipe.model.weights), (images.folder, recipe.data.folder)):
        assert (path is None) == (said is None)
        if path is not None and said is not None:
            assert (out.parent / said).resolve() == path.absolute().resolve()
    assert recipe.data.calibration.images == images.calibration
    assert recipe.data.evaluation.images == ("auto" if images.auto else "all")
    assert recipe.data.uneven_classes == ("accept" if images.uneven else "stop")
    assert recipe.compile.if_toolkit_missing == "stop"
    assert all(line.startswith("#") for line in out.read_text().splitlines()[:2])


def found(**changes: Any) -> Findings:
    view = View(Preprocess(size=32), "Said.")
    model: dict[str, Any] = {
        "source": "onnx", "name": "net", "file": Path("net.onnx"), "description": "a net",
        "outputs": 10, "view": view,
    }  # fmt: skip
    images = Images("folder", Path("photos"), 100, 10, 9, (), 25, 12, False, 0.05, 0.03)
    return Findings(ModelFindings(**{**model, **changes}), images)


def test_a_source_that_brings_its_preprocessing_is_not_contradicted(tmp_path: Path) -> None:
    out = tmp_path / "r.yaml"
    view = View(Preprocess(size=32), "timm's own.", own=True)
    out.write_text(render_recipe(found(source="timm", file=None, view=view), "x", out))
    assert load_recipe(out).recipe.data.preprocess is None
    assert "# preprocess: {size: 32, interpolation: bicubic" in out.read_text()


def test_what_is_behind_a_bullet_stands_in_line(tmp_path: Path) -> None:
    finding = "3 x Conv (conv1, conv2, conv3): " + "slower than it could be, " * 6
    text = render_recipe(found(npu=(finding,)), "x", tmp_path / "r.yaml")
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("# - 3 x"))
    assert lines[at + 1].startswith("#   ") and max(map(len, lines[at : at + 2])) <= 100


def test_guesses_and_what_is_slow_stand_in_comments(tmp_path: Path) -> None:
    view = View(Preprocess(size=32), "", guessed=("mean", "std"))
    text = render_recipe(found(view=view, npu=("3 x Mul: slow",)), "net.onnx", tmp_path / "r.yaml")
    assert "# Nobody said mean, std: these are guesses" in text
    assert "# - 3 x Mul: slow" in text
    assert "63 images cannot show less than 3 points" in text


def test_a_background_class_that_the_files_names_show_is_no_guess(tmp_path: Path) -> None:
    for first, named in (("Background", True), ("tench", False), (None, False)):
        model = found(outputs=11, first_class=first)
        text = render_recipe(model, "net", tmp_path / "r.yaml")
        assert ("label_offset: 1" in text) == named == (not model.other_classes)
        assert ("the first of the file's class names is a background" in text) == named
        assert ("label_offset: 0" in text and "Write 1 if the first output" in text) != named


def test_1001_outputs_are_imagenets_and_a_background(tmp_path: Path) -> None:
    images = Images("imagenet", Path("photos"), 100, 1000, 999, (), 25, 12, False, 0.05, 0.03)
    model = Findings(found(outputs=1001).model, images)
    text = render_recipe(model, "net", tmp_path / "r.yaml")
    assert "label_offset: 1" in text and "Write 0" in text and not model.other_classes


@pytest.mark.parametrize("outputs", [10, 11, 1000])
@pytest.mark.parametrize("dataset", ["folder", "imagenetv2", "npy"])
def test_outputs_that_are_not_the_classes_are_said(
    tmp_path: Path, dataset: DatasetName, outputs: int
) -> None:
    one = found(outputs=outputs)
    text = render_recipe(
        Findings(one.model, replace(one.images, dataset=dataset)), "net", tmp_path / "r.yaml"
    )
    flat = " ".join(text.replace("#", "").split())
    said = (
        f"The model has {outputs} outputs, and the images are of 10 classes: class 0 is scored as"
    )
    assert (said in flat) == (outputs != 10)
    assert ("a labels.txt beside the folders has to name" in flat) == (
        dataset == "folder" and outputs != 10
    )


def test_what_the_images_cannot_do_is_said(tmp_path: Path) -> None:
    few = Images("folder", Path("photos"), 12, 10, 9, ("why",), 3, 1, False, None, 0.25)
    out = tmp_path / "r.yaml"
    out.write_text(render_recipe(Findings(found(outputs=5).model, few), "net.onnx", out))
    recipe, text = load_recipe(out).recipe, " ".join(out.read_text().replace("#", "").split())
    assert "The model has 5 outputs, and there are images of class 9" in text
    assert "8 images show no drop within 20 points" in text
    assert "Accepted, because it is so: why." in text
    assert not recipe.checks.quantize.required and not recipe.checks.compile.required
    assert Findings(found().model, few).nothing_demanded and not found().nothing_demanded


def test_a_quantized_file_is_not_quantized_again(tmp_path: Path) -> None:
    images = Images("imagenet", None, None, 1000, None, (), 1, 0, True, 0.005, 0.0)
    model = found(source="quantized-tflite", quantized="uint8", outputs=1001).model
    out = tmp_path / "r.yaml"
    out.write_text(render_recipe(Findings(model, images), "net.tflite", out))
    recipe = load_recipe(out).recipe
    assert recipe.data.selection is None and recipe.data.calibration.images == 1
    assert recipe.data.evaluation.images == 5000
    assert recipe.model.label_offset == 1


def test_paths_are_as_relative_as_they_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert path_in_recipe(Path("models/net.onnx"), Path("configs/r.yaml")) == "../models/net.onnx"
    assert path_in_recipe(Path("net.onnx"), Path("r.yaml")) == "net.onnx"
    assert path_in_recipe(Path("."), Path("configs/r.yaml")) == ".."
    assert path_in_recipe(tmp_path / "net.onnx", Path("configs/r.yaml")) == f"{tmp_path}/net.onnx"


def test_a_path_through_a_linked_folder_leads_where_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far" / "configs").mkdir(parents=True)
    (tmp_path / "configs").symlink_to(tmp_path / "far" / "configs")
    (tmp_path / "net.onnx").write_bytes(b"net")
    monkeypatch.chdir(tmp_path)
    said = path_in_recipe(Path("net.onnx"), Path("configs/r.yaml"))
    assert (Path("configs") / said).read_bytes() == b"net"


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        path_in_recipe(Path("net\udcff.onnx"), Path("r.yaml"))


@given(TEXTS | st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_scalar_is_read_back(value: Any) -> None:
    assert yaml.safe_load(f"[{{a: {scalar(value)}}}]") == [{"a": value}]


@given(TEXTS, st.integers(0, 8))
def test_a_comment_is_nothing_to_yaml(text: str, indent: int) -> None:
    assert yaml.safe_load(f"a: 1\n{comment(text, indent)}\nb: 2\n") == {"a": 1, "b": 2}
