"""torchvision made importable, in processes of their own and against packages of each kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).parents[1]
CALL = """
from pipeline.errors import StageError
from pipeline.sources.torchvision_ops import make_torchvision_importable
def call():
    try:
        make_torchvision_importable()
        return "done"
    except StageError as error:
        return str(error)
"""
WORKING = """
from torch import library as operators
library = operators.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.impl("nms", lambda dets, scores, iou_threshold: scores, "CPU")
"""
LACKING = """
from torch import library as operators
from . import part
operators.register_fake("torchvision::nms", lambda a, b, c: b)
operators.register_fake("torchvision::qnms", lambda a, b, c: b)
"""
CALL_THE_OPERATOR = (
    "import torch; print(torch.ops.torchvision.nms(torch.ones(1, 4), torch.ones(1), 0.5))"
)


def run(program: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CALL + program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def package(folder: Path, source: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(source)
    (folder / "torchvision" / "part.py").write_text("")
    return folder


def test_the_installed_one_can_be_imported_and_timm_with_it(tmp_path: Path) -> None:
    lines = run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    print(set(pool.map(lambda _: call(), range(8))))\n"
        "import timm, torchvision, torchvision.transforms; print(torchvision.__name__)",
        tmp_path,
    )
    assert lines == ["{'done'}", "torchvision"]


def test_one_that_works_is_left_alone(tmp_path: Path) -> None:
    folder = package(tmp_path, WORKING)
    program = f"print(call(), call()); {CALL_THE_OPERATOR}"
    assert run(program, folder) == ["done done", "tensor([1.])"]


def test_one_that_lacks_its_operators_is_given_declarations(tmp_path: Path) -> None:
    folder = package(tmp_path, LACKING)
    lines = run(
        "print(call(), call())\nimport sys, torch\nprint('torchvision.part' in sys.modules)\n"
        "print(torch.ops.torchvision.nms.default._schema)",
        folder,
    )
    schema = "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert lines == ["done done", "True", schema]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise RuntimeError('compiled for another CUDA\\nmore')", "compiled for another CUDA"),
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("raise RuntimeError('operator torchvision::roi_pool does not exist')", "roi_pool"),
    ],
)
def test_one_that_fails_otherwise_is_reported(tmp_path: Path, source: str, says: str) -> None:
    line, hint = run("print(call())", package(tmp_path, source))
    assert "torchvision, which timm needs, cannot be imported" in line
    assert says in line
    assert "same release" in hint
