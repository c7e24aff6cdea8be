"""What a user can give that is wrong: a clear error, the right exit code, and nothing lost."""

import hashlib
import json
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

BROKEN = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "text": lambda whole: b"this is no picture\n",
    "page": lambda whole: b"<!DOCTYPE html><html>not found</html>",
}


def said(done: Any) -> str:
    return " ".join(done.err.split())


def assert_refused(setting: Any, done: Any, *expected: str) -> None:
    """Exit 3, a few lines, and nothing half made."""
    assert done.code == 3, done.err
    for words in expected:
        assert words in said(done), f"{words!r} is not in {done.err}"
    assert "Traceback" not in done.err and "unexpected" not in done.err, done.err
    assert len(done.err.splitlines()) <= 12, done.err
    assert setting.half_made() == []


# Weights


@pytest.fixture
def weights(tiny: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A weights file with something wrong with it."""

    def make(how: str) -> Path:
        path = tmp_path / f"{how}.safetensors"
        whole = tiny / "weights.safetensors"
        if how == "cut":
            path.write_bytes(whole.read_bytes()[:700_000])
        elif how == "empty":
            path.touch()
        elif how == "page":
            path.write_bytes(BROKEN["page"](b""))
        elif how == "folder":
            path.mkdir()
        elif how == "pickled":

            class Evil:
                def __reduce__(self) -> Any:
                    return (Path.touch, (tmp_path / "executed",))

            path = path.with_suffix(".pth")
            torch.save({"fc.weight": Evil()}, path)
        elif how == "plain-pickle":
            path = path.with_suffix(".bin")
            path.write_bytes(pickle.dumps({"fc.weight": np.zeros(3)}))
        elif how == "nan":
            tensors = load_file(whole)
            tensors["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
            save_file(tensors, path)
        elif how == "other":
            from pipeline.sources.timm_models import build

            save_file(build("test_efficientnet", 10).state_dict(), path)
        elif how == "renamed":
            tensors = load_file(whole)
            tensors["layer9.conv.weight"] = tensors.pop("layer1.0.conv1.weight")
            save_file(tensors, path)
        return path

    return make


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("cut", "damaged or cut short"),
        ("pickled", "executable pickle (it asks for"),
        ("renamed", "layer1.0.conv1.weight"),
        pytest.param("nan", "1 of 92 tensors: layer1.0.conv1.weight", marks=pytest.mark.slow),
        pytest.param("other", "no tensor fc.weight", marks=pytest.mark.slow),
        pytest.param("page", "this is a web page", marks=pytest.mark.slow),
        pytest.param("plain-pickle", "executable pickle", marks=pytest.mark.slow),
    ],
)
def test_weights_that_cannot_be_used(
    made: Any, weights: Any, tmp_path: Path, how: str, expected: str
) -> None:
    before = {kind: made.entries(kind) for kind in ("weights", "export", "quantize", "compile")}
    path = weights(how)
    done = made.run("--weights", path)
    assert_refused(made, done, expected, str(path))
    assert not (tmp_path / "executed").exists(), "the pickle was executed"
    assert {kind: made.entries(kind) for kind in before} == before
    if how == "renamed":
        assert "layer9.conv.weight" in said(done), "what is left over is named, too"
    assert made.run().code == 0, "with the right weights it goes on"


@pytest.mark.parametrize(("how", "expected"), [("empty", "is empty"), ("folder", "is a folder")])
def test_weights_that_are_no_file(made: Any, weights: Any, how: str, expected: str) -> None:
    path = weights(how)
    done = made.run("--weights", path)
    assert_refused(made, done, "1 thing is missing, so nothing was started", f"{path} {expected}")


@pytest.mark.slow
def test_weights_that_are_not_the_recipes(made: Any) -> None:
    # Also where the model is in the store already.
    done = made.run("--set", f"model.sha256={'a' * 64}")
    assert_refused(made, done, "this is not the file the recipe demands", "model.sha256")
    digest = hashlib.sha256(made.weights.read_bytes()).hexdigest()
    done = made.run("--set", f"model.sha256='{digest}'")
    assert done.code == 0, done.err
    cached = {stage["name"]: stage["cached"] for stage in made.report()["stages"]}
    assert cached == {name: name != "weights" for name in cached}


@pytest.mark.slow
def test_an_unknown_architecture(made: Any) -> None:
    done = made.run("--set", "model.name=test_resnett")
    assert done.code == 2, done.err
    assert "did you mean test_resnet" in said(done)


# Images


@pytest.fixture
def images(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the images, the test's own."""
    return Path(shutil.copytree(tiny / "images", tmp_path / "images"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "is empty"),
        ({"notes.txt": b"x"}, "has no image of a known class; it holds notes.txt"),
        ({"cat.JPEG": b"x", "n00000000/y.JPEG": b"x"}, "has no image of a known class; it holds cat.JPEG, n00000000"),
    ],
)  # fmt: skip
def test_a_folder_without_images(made: Any, tmp_path: Path, content: Any, expected: str) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    done = made.run("--data", folder)
    assert_refused(made, done, f"{folder} {expected}", "n01440764")
    assert made.run().code == 0


@pytest.mark.parametrize("how", list(BROKEN))
def test_a_broken_image_stops_the_run(made: Any, images: Path, how: str) -> None:
    path = images / "n01443537_3.JPEG"
    path.write_bytes(BROKEN[how](path.read_bytes()))
    report = made.report()
    done = made.run("--data", images)
    assert_refused(made, done, str(path), "broken_images: skip")
    assert made.report() == report


def test_broken_images_are_skipped_and_counted(made: Any, images: Path) -> None:
    for how, damage in BROKEN.items():
        path = images / f"n01443537_{how}.JPEG"
        path.write_bytes(damage((images / "n01443537_3.JPEG").read_bytes()))
    done = made.run("--data", images, "--set", "data.broken_images=skip")
    assert done.code == 0, done.err
    names = [f"n01443537_{how}.JPEG" for how in sorted(BROKEN)]
    assert "broken images, left out: 4" in said(done)
    data = made.report()["data"]
    assert sorted(data["broken"]) == names
    assert any("broken images, left out: 4" in note for note in data["notes"])
    # The images that are left are the same, and so is everything that was computed with them.
    assert all(stage["cached"] for stage in made.report()["stages"])
    assert data["evaluation"]["images"] == 60


def test_fewer_images_than_asked_for(made: Any, images: Path) -> None:
    done = made.run("--data", images, "--set", "data.evaluation.at_least=100")
    assert_refused(made, done, "data.evaluation", "60 images, and at least 100 are demanded")


@pytest.mark.slow
def test_images_of_classes_that_the_model_does_not_have(made: Any, images: Path) -> None:
    for path in images.glob("n01440764_*"):
        path.rename(images / path.name.replace("n01440764", "n02123045"))  # label 281
    done = made.run("--data", images, "--until", "weights")
    assert_refused(made, done, "gives 10 classes, but the images have labels up to 281")
    assert "model and dataset do not belong together" in said(done)


@pytest.mark.slow
def test_a_model_that_gives_no_numbers(made: Any, tmp_path: Path) -> None:
    # Every weight is finite, but their products are not.
    tensors = load_file(made.weights)
    for name in ("layer4.0.conv1.weight", "fc.weight"):
        tensors[name] *= 1e30
    save_file(tensors, tmp_path / "w.safetensors")
    done = made.run("--weights", tmp_path / "w.safetensors", "--until", "export")
    assert (done.code, "unexpected" in done.err) == (3, False), done.err
    assert "gives logits that are not finite" in said(done)
    report = made.report("until-export")
    assert report["verdict"] == "FAIL" and "not finite" in report["failure"]
    assert [stage["name"] for stage in report["stages"]] == ["weights"]
    assert report["stages"][0]["check"]["top1"] == 0


def test_a_place_for_results_that_is_a_file(made: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = made.run("--artifacts", tmp_path / "file")
    assert done.code == 2
    assert "--artifacts" in done.err and "is a file" in said(done) and "Traceback" not in done.err
    assert (tmp_path / "file").read_text() == "x"


# A full disk: a real file system in memory that is too small, in a name space of its own

DRIVER = """
import json, os, shutil, subprocess, sys
from pathlib import Path

given = json.loads(sys.argv[1])
disk = Path(given["disk"])

def limit(options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)

def run():
    done = subprocess.run(given["command"], capture_output=True, text=True)
    left = [str(p) for p in disk.rglob("*") if ".partial" in p.name or p.name.startswith(".") and p.name != ".store"]
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr, "half_made": left}

subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g,nr_inodes=100k", "tmpfs", str(disk)], check=True)
shutil.copytree(given["copy"], disk / "artifacts")
for folder in given["without"]:
    shutil.rmtree(disk / "artifacts" / folder)
status = os.statvfs(disk)
used = (status.f_blocks - status.f_bfree) * status.f_frsize
files = status.f_files - status.f_ffree
if "bytes" in given:
    limit(f"size={used + given['bytes']}")
if "files" in given:
    limit(f"nr_inodes={files + given['files']}")
first = run()
limit("size=4g,nr_inodes=100k")
print(json.dumps([first, run()]))
"""


@pytest.fixture
def small_disk(made: Any, lab: Any, tmp_path: Path) -> Callable[..., list[Any]]:
    """What a run says on a disk that has room for so many more bytes or files, and what the same
    command says when there is room again."""
    (tmp_path / "disk").mkdir()
    alone = ["unshare", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        alone = ["unshare", "--user", "--map-root-user", "--mount"]
        probe = [*alone, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "disk")]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip("this system does not let us mount a small file system")

    def run(
        without: tuple[str, ...], *, results: bool = True, ask: bool = False, **room: int
    ) -> list[Any]:
        """Without these kinds in the store, and without results where not `results`; `ask` leaves the
        preflight's question for free space in place."""
        folders = [f".store/{kind}" for kind in without] + ([] if results else ["tiny"])
        command = made.command("run", "--threads", "2")
        command[command.index("--artifacts") + 1] = str(tmp_path / "disk" / "artifacts")
        if not ask:
            script = "import pipeline.preflight as p; p.DISK_BYTES = 0; "
            script += (
                "import sys; sys.argv[0] = 'pipeline'; from pipeline.entry import main; main()"
            )
            command = [sys.executable, "-c", script, *command[3:]]
        given = {"disk": str(tmp_path / "disk"), "copy": str(made.artifacts), "without": folders,
                 "command": command, **room}  # fmt: skip
        done = lab.call([*alone, sys.executable, "-c", textwrap.dedent(DRIVER), json.dumps(given)])
        assert done.code == 0, done.err
        answers: list[Any] = json.loads(done.out)
        return answers

    return run


def assert_full_then_finished(answers: list[Any], where: str) -> None:
    full, roomy = answers
    assert full["code"] == 3, full
    text = " ".join(full["err"].split())
    assert re.search(
        f"error: ({where}): the disk is full; nothing half made was left behind", text
    ), text
    assert "make room on the disk of" in text and "run the same command again" in text
    assert "Traceback" not in text
    assert full["half_made"] == []
    assert roomy["code"] == 0, roomy
    assert roomy["half_made"] == [] and "PASS" in roomy["out"]


@pytest.mark.parametrize(
    ("without", "room", "where"),
    [
        (("ranges", "quantize", "compile"), {"bytes": 100_000}, "quantize"),
        (("compile",), {"bytes": 300_000}, "sl1640: compile"),
        (("verdicts",), {"files": 3}, "checking weights"),
        pytest.param(("quantize",), {"files": 4}, "quantize", marks=pytest.mark.slow),
        pytest.param(("outputs",), {"bytes": 16_384}, r"checking \w+", marks=pytest.mark.slow),
        pytest.param(("export",), {"bytes": 1_000_000}, "export", marks=pytest.mark.slow),
        pytest.param(("weights",), {"bytes": 1_000_000}, "weights", marks=pytest.mark.slow),
        pytest.param(("weights",), {"files": 2}, "weights", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk(small_disk: Any, without: Any, room: Any, where: str) -> None:
    assert_full_then_finished(small_disk(without, **room), where)


def test_a_full_disk_when_results_are_written(small_disk: Any) -> None:
    answers = small_disk((), results=False, bytes=0)
    assert_full_then_finished(answers, "writing the results to .*/tiny/sl1640")


def test_too_little_room_is_seen_before_anything_is_started(small_disk: Any) -> None:
    full, roomy = small_disk(("compile",), ask=True, bytes=50_000_000)
    assert full["code"] == 3
    text = " ".join(full["err"].split())
    assert "1 thing is missing, so nothing was started" in text
    assert "room on the disk: 0.0 GiB free" in text and "--artifacts FOLDER" in text
    assert roomy["code"] == 0, roomy


def test_unequal_deviations_that_nothing_folds_are_refused_before_any_work(made: Any) -> None:
    words = ["--set", "equalize=null", "--set", "data.preprocess.std=[0.2, 0.3, 0.4]"]
    done = made.run(*words)
    assert (done.code, done.out) == (2, "")
    assert "error: equalize: null: SyNAP knows one deviation for all channels" in done.err
    # What is only simulated needs no such form.
    assert made.run(*words, "--until", "export").code == 0


# Model files


@pytest.mark.parametrize("source", ["onnx", "quantized-onnx", "tflite", "quantized-tflite"])
def test_a_plan_without_the_model_file(fresh: Any, lab: Any, tmp_path: Path, source: str) -> None:
    recipe = tmp_path / "given.yaml"
    data = f"  folder: {fresh.images}\n  calibration: {{dataset: imagenet, images: 20}}\n"
    view = "{size: 64, interpolation: bilinear, crop: 1.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
    recipe.write_text(
        f"schema: 1\nmodel: {{source: {source}, name: given}}\ndata:\n  preprocess: {view}\n{data}"
        "  selection: {dataset: imagenet, images: 20}\n"
        "  evaluation: {dataset: imagenet, images: all}\n  uneven_classes: accept\n"
    )
    for words in ([], ["--weights", str(tmp_path / "nothing")], ["--weights", str(tmp_path)]):
        done = lab.call(fresh.command("plan", *words, recipe=recipe))
        assert_refused(fresh, done, "the model file")
