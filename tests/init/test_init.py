"""`pipeline init` from file to recipe, and from recipe to bundle."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from pipeline.commands.init import init as command
from pipeline.errors import PipelineError, StageError, UsageError
from pipeline.init import init
from pipeline.init.summary import summary, toolkit_is_here
from pipeline.recipe_file import load_recipe

APP = typer.Typer(pretty_exceptions_enable=False)
APP.command()(command)


def test_the_recipe_is_written_beside_the_user(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    models.classifier(tmp_path / "in" / "my net (v2).onnx")
    written = init("in/my net (v2).onnx")
    assert written.path == Path("my_net_v2.yaml")
    recipe = load_recipe(tmp_path / "my_net_v2.yaml").recipe
    assert recipe.model.weights == "in/my net (v2).onnx"
    assert recipe.data.folder is None
    assert sorted(os.listdir(tmp_path)) == ["in", "my_net_v2.yaml"]


def test_an_existing_file_is_kept_unless_forced(models: Any, tmp_path: Path) -> None:
    file, out = models.classifier(tmp_path / "net.onnx"), tmp_path / "r.yaml"
    out.write_text("mine")
    with pytest.raises(UsageError, match=r"exists already\n.*--out FILE.*--force"):
        init(str(file), out=out)
    assert out.read_text() == "mine"
    init(str(file), out=out, force=True)
    assert load_recipe(out).recipe.model.source == "onnx"
    with pytest.raises(UsageError, match="is a folder"):
        init(str(file), out=tmp_path, force=True)


def test_nothing_is_written_for_what_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(StageError, match="not a readable ONNX file"):
        init(str(tmp_path / "net.onnx"), out=tmp_path / "r.yaml")
    assert not (tmp_path / "r.yaml").exists()


def test_a_folder_that_cannot_be_written_to_is_said(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx")
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(StageError, match="plain"):
        init(str(file), out=tmp_path / "plain" / "r.yaml")


def test_a_person_is_asked_for_what_the_file_does_not_say(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx", size="S")
    person = models.Person(folder="later", size="48", pixels="bytes", resized="nearest", crop="1.0")
    written = init(str(file), out=tmp_path / "r.yaml", ask=person)
    preprocess = load_recipe(written.path).recipe.data.preprocess
    assert preprocess is not None
    assert (preprocess.size, preprocess.interpolation, preprocess.crop) == (48, "nearest", 1.0)
    assert preprocess.std[0] == 1 / 255
    assert len(person.asked) == 5
    assert "guess" not in written.path.read_text()


def test_an_accepted_default_is_still_a_guess(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx", size="S")
    person = models.Person(folder="later", resized="nearest")
    view = init(str(file), out=tmp_path / "r.yaml", ask=person).findings.model.view
    assert view.guessed == ("size", "mean", "std", "crop")
    assert view.origin.endswith("As answered when this was written: interpolation.")
    [pixels] = [question for question in person.asked if "pixels" in question]
    assert "Enter to decide later; other values go into the recipe" in pixels


def test_the_command_prints_what_to_check_and_what_is_next(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx", gate=True)
    done = CliRunner().invoke(APP, [str(file), "--out", str(tmp_path / "r.yaml")])
    assert done.exit_code == 0, done.output
    assert "to be checked, because guessed: mean, std, interpolation, crop" in done.output
    assert "slow on the NPU: 1 x Mul (mul1)" in done.output
    assert f"next: make convert CONFIG={tmp_path}/r.yaml DATA=" in done.output
    assert "nothing is demanded" not in done.output


@pytest.mark.parametrize("toolkit", [True, False])
def test_what_is_next_can_be_done_without_a_toolkit(
    models: Any, tiny: Path, tmp_path: Path, toolkit: bool
) -> None:
    options = {"net.onnx": "--set compile.delegate=cpu", "net.tflite": "--until lower"}
    models.classifier(tmp_path / "net.onnx")
    models.integer_tflite(tmp_path / "net.tflite")
    for name, words in options.items():
        written = init(str(tmp_path / name), out=tmp_path / "my r.yaml", force=True)
        quoted = f"next: make convert CONFIG='{tmp_path}/my r.yaml' DATA=/path/to/images"
        said = summary(written, toolkit=toolkit)[-1]
        assert said == (quoted if toolkit else f'{quoted} ARGS="{words}"')


def test_a_recipe_without_thresholds_is_said_to_demand_nothing(models: Any, tmp_path: Path) -> None:
    """The check that is named is one that the recipe can have."""
    file, out = models.integer_tflite(tmp_path / "net.tflite"), tmp_path / "r.yaml"
    said = summary(init(str(file), out=out), toolkit=True)
    assert "nothing is demanded yet: set checks.lower.min_top1" in said
    checks = load_recipe(out).recipe.checks
    assert not any(part.required for part in (checks.lower, checks.compile))


def folders_of_photos(folder: Path, names: list[str]) -> Path:
    """Twenty small pictures in a folder for each name."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(20):
            Image.new("RGB", (2, 2), (index, 0, 0)).save(folder / name / f"{index}.png")
    return folder


def test_a_model_of_a_part_of_imagenet_is_given_its_own_classes(
    models: Any, tmp_path: Path
) -> None:
    folder = folders_of_photos(tmp_path / "val", ["n01440764", "n02102040", "n03888257"])
    file, out = models.classifier(tmp_path / "net.onnx", classes=3), tmp_path / "r.yaml"
    written = init(str(file), out=out, data=folder)
    assert load_recipe(out).recipe.data.evaluation.dataset == "folder"
    assert "a run stops" not in out.read_text()
    assert not written.findings.unfit_labels and not written.findings.other_classes
    above = init(str(file), out=out, data=tmp_path, force=True)
    assert load_recipe(out).recipe.data.evaluation.dataset == "imagenet"
    assert "right above the folders of its classes" in " ".join(
        out.read_text().replace("#", "").split()
    )
    assert summary(above, toolkit=True)[1:3] == [
        "to be checked, because guessed: mean, std, interpolation, crop",
        "to be checked: 3 outputs, but the images are of 1000 classes, and a run stops at class 701",
    ]


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (2, []),
        (3, ["to be checked: 3 outputs, but the images are of 2 classes: class 0 is scored as output "
             "0; model.label_offset may have to be 1"]),
        (9, ["to be checked: 9 outputs, but the images are of 2 classes: class 0 is scored as output "
             "0"]),
    ],
)  # fmt: skip
def test_a_model_of_other_classes_than_the_images_is_said(
    models: Any, tmp_path: Path, outputs: int, said: list[str]
) -> None:
    folder = folders_of_photos(tmp_path / "cd", ["cats", "dogs"])
    file, out = models.classifier(tmp_path / "net.onnx", classes=outputs), tmp_path / "r.yaml"
    lines = summary(init(str(file), out=out, data=folder), toolkit=True)
    assert [line for line in lines if line.startswith("to be checked: ")] == said
    assert load_recipe(out).recipe.model.label_offset == 0


def test_without_images_a_model_of_other_classes_than_imagenet_is_said(
    models: Any, tmp_path: Path
) -> None:
    for outputs, other in ((10, True), (1000, False), (1001, False)):
        file = models.classifier(tmp_path / "net.onnx", classes=outputs)
        lines = summary(init(str(file), out=tmp_path / "r.yaml", force=True), toolkit=True)
        said = (
            f"to be checked: {outputs} outputs, but ImageNet has 1000 classes; other images will be"
        )
        assert any(line.startswith(said) for line in lines) == other


def test_the_toolkit_is_looked_for_where_a_run_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not toolkit_is_here()
    (tmp_path / "synap_convert").write_text("#!/bin/sh\necho 3.2.0\n")
    (tmp_path / "synap_convert").chmod(0o755)
    assert toolkit_is_here()


def test_the_command_prints_json(models: Any, tmp_path: Path) -> None:
    file = models.classifier(tmp_path / "net.onnx", classes=1001)
    words = [str(file), "--out", str(tmp_path / "r.yaml"), "--json"]
    data = json.loads(CliRunner().invoke(APP, words).stdout)
    assert data["recipe"] == str(tmp_path / "r.yaml")
    assert data["model"]["label_offset"] == 1
    assert data["model"]["view"]["guessed"] == ["mean", "std", "interpolation", "crop"]
    assert data["images"]["dataset"] == "imagenet"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_a_wrong_answer_is_asked_again(models: Any, tmp_path: Path, lab: Any) -> None:
    import pty
    import subprocess

    file = models.classifier(tmp_path / "net.onnx")
    program = "import typer; from pipeline.commands.init import init; typer.run(init)"
    leader, follower = pty.openpty()
    argv = [sys.executable, "-c", program, str(file), "--out", str(tmp_path / "r.yaml")]
    with subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=lab.environment()
    ) as process:
        os.close(follower)
        os.write(leader, b"\nnonsense\nhalf\n\n2\n0.9\n")
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert process.returncode == 0, shown.decode()
    assert b"one of imagenet, half, fractions, bytes" in shown
    assert b"a number from 0.05 to 1" in shown
    preprocess = load_recipe(tmp_path / "r.yaml").recipe.data.preprocess
    assert preprocess is not None
    assert (preprocess.mean, preprocess.crop) == ((0.5, 0.5, 0.5), 0.9)


def test_a_recipe_of_a_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="there is no such file"):
        init(str(tmp_path / "none.onnx"), out=tmp_path / "r.yaml")


# Whole runs


def run(lab: Any, recipe: Path, tmp_path: Path) -> Any:
    """The recipe as it was written, but for the toolkit that the tests have not."""
    done = lab.pipeline_run(
        recipe, tmp_path / "artifacts", "--target", "sl1680", "--set", "compile.delegate=cpu"
    )
    assert done.code in (0, 1), done.err  # 1: a verdict, which untrained weights may lose
    report = done.json
    assert all(stage["check"]["images"] > 0 for stage in report["stages"])
    return report


@pytest.mark.slow
def test_a_checkpoint_becomes_a_bundle(lab: Any, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.yaml"
    init(str(tiny / "weights.safetensors"), out=out, data=tiny / "images", arch="test_resnet")
    report = run(lab, out, tmp_path)
    assert report["stages"][0]["name"] == "weights"
    assert (tmp_path / "artifacts" / "net" / "sl1680" / "model.synap").is_file()


@pytest.mark.slow
def test_a_float_onnx_file_becomes_a_bundle(
    lab: Any, models: Any, tiny: Path, tmp_path: Path
) -> None:
    """It normalizes its input itself, which a run makes part of the preprocessing."""
    file = models.classifier(tmp_path / "net.onnx", softmax=True, normalize=(0.45, 0.225))
    out = tmp_path / "net.yaml"
    init(str(file), out=out, data=tiny / "images")
    report = run(lab, out, tmp_path)
    assert report["stages"][0]["name"] == "export"
    assert (tmp_path / "artifacts" / "net" / "sl1680" / "model.synap").is_file()


@pytest.mark.slow
def test_imagenets_unequal_deviations_become_a_bundle(
    lab: Any, models: Any, tiny: Path, tmp_path: Path
) -> None:
    file, out = models.classifier(tmp_path / "net.onnx", softmax=True), tmp_path / "net.yaml"
    init(str(file), out=out, data=tiny / "images")
    run(lab, out, tmp_path)
    assert (tmp_path / "artifacts" / "net" / "sl1680" / "model.synap").is_file()


@pytest.mark.slow
def test_a_float_tflite_file_becomes_a_bundle(
    lab: Any, models: Any, tiny: Path, tmp_path: Path
) -> None:
    file, out = models.float_tflite(tmp_path / "net.tflite"), tmp_path / "net.yaml"
    init(str(file), out=out, data=tiny / "images")
    report = run(lab, out, tmp_path)
    assert report["stages"][0]["name"] == "export"
    assert (tmp_path / "artifacts" / "net" / "sl1680" / "model.synap").is_file()


@pytest.mark.slow
def test_a_quantized_tflite_file_is_measured(
    lab: Any, tiny: Path, first_run: Any, tmp_path: Path
) -> None:
    setting, _ = first_run
    [lowered] = [stage for stage in setting.report()["stages"] if stage["name"] == "lower"]
    file, out = setting.artifacts / lowered["artifact"]["path"], tmp_path / "net.yaml"
    init(str(file), out=out, data=tiny / "images")
    recipe = load_recipe(out).recipe
    assert (recipe.model.source, recipe.data.selection) == ("quantized-tflite", None)
    done = lab.pipeline_run(out, tmp_path / "artifacts", "--until", "lower")
    assert done.code == 0, done.err
    assert done.json["stages"][0]["check"]["images"] == 79
    assert done.json["stages"][0]["check"]["top1"] > 0.5


@pytest.mark.slow
def test_a_qdq_file_becomes_a_bundle(lab: Any, models: Any, tiny: Path, tmp_path: Path) -> None:
    float_file = models.classifier(tmp_path / "f.onnx")
    file, out = models.quantized(float_file, tmp_path / "net.onnx"), tmp_path / "net.yaml"
    init(str(file), out=out, data=tiny / "images")
    words = ["--target", "sl1680", "--set", "compile.delegate=cpu"]
    three = "data.preprocess.std=[0.229, 0.224, 0.225]"
    refused = lab.pipeline_run(out, tmp_path / "artifacts", *words, "--set", three)
    assert refused.code == 2
    assert "SyNAP knows one deviation for all channels" in refused.err
    done = lab.pipeline_run(out, tmp_path / "artifacts", *words)
    assert done.code in (0, 1), done.err  # 1: a verdict, which untrained weights may lose
    assert (tmp_path / "artifacts" / "net" / "sl1680" / "model.synap").is_file()
