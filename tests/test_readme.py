"""Every command of the README is run. Names that stand for the reader's own files are replaced by
real ones, `.venv/bin/python` by the Python of the tests."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ROOT = Path(__file__).parents[1]
SYNSETS = ("n01440764", "n01443537", "n01484850", "n01491361")


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


COMMANDS = readme_commands()
BY_CI = {"make demo", "make test", "make test-slow", "make lint"}
SLOW = {
    "make bench",
    ".venv/bin/python -m pipeline run configs/inception_v4_digits.yaml --until quantize",
}


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ONNX classifier of 1001 classes and a folder of 260 photos."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(0, 0.3, (8, 3, 7, 7)),
        "b": random.normal(0, 0.1, 8),
        "v": random.normal(0, 1, (1001, 8)),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "v"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1001])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    (folder / "photos").mkdir()
    for index in range(360):
        tile = random.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        picture = Image.fromarray(tile).resize((96, 80), Image.Resampling.BICUBIC)
        picture.save(folder / "photos" / f"{SYNSETS[index % 4]}_{index}.JPEG")
    return folder


def run(command: str, own: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    if words[0] == "make":
        # The tests' own environment instead of .venv.
        made = [".venv/.installed", ".venv/.installed-dev"]
        words[1:1] = [f"PY={sys.executable}", *(word for path in made for word in ("-o", path))]
    words = [sys.executable if word == ".venv/bin/python" else word for word in words]
    return subprocess.run(
        words, cwd=ROOT, text=True, capture_output=True, timeout=900, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )  # fmt: skip


def with_own_files(command: str, own: Path) -> str:
    command = command.replace(
        "WEIGHTS=model.onnx DATA=photos", f"WEIGHTS={own}/model.onnx DATA={own}/photos"
    )
    command = command.replace("model.onnx --data photos", f"{own}/model.onnx --data {own}/photos")
    command = command.replace("inspect model.onnx", f"inspect {own}/model.onnx")
    return command


def test_what_ci_runs_is_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert set(COMMANDS) >= BY_CI
    assert set(script) >= BY_CI


def test_make_help_names_every_target_once() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, text=True, capture_output=True, check=True)
    listed = re.findall(r"^make (\S+) +\S", done.stdout, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == targets
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_no_command_is_forgotten() -> None:
    tested = BY_CI | SLOW
    for command in COMMANDS:
        if command in tested:
            continue
        assert re.match(r"make (setup|convert) |\.venv/bin/python -m pipeline ", command), command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make setup")])
def test_setup_passes_its_options_to_pip(command: str, own_files: Path) -> None:
    result = subprocess.run(
        [*shlex.split(command), "-n", "-B"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert result.returncode == 0
    assert (
        "--extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt" in result.stdout
    )


def test_convert_says_everything_that_is_missing(own_files: Path, tmp_path: Path) -> None:
    (command,) = (c for c in COMMANDS if c.startswith("make convert TARGET"))
    result = run(
        f"{command} ARGS='--artifacts {tmp_path}'",
        own_files,
        HF_HOME=str(tmp_path),
        PATH="/usr/bin:/bin",
    )
    assert result.returncode == 2  # make's own; the error is in words
    for thing in ("weights of inception_v4.tf_in1k", "images", "SyNAP toolkit", "make demo"):
        assert thing in result.stderr


def test_an_own_model_is_converted(own_files: Path, tmp_path: Path) -> None:
    (command,) = (c for c in COMMANDS if c.startswith("make convert CONFIG"))
    command = with_own_files(command, own_files)
    result = run(f"{command} ARGS='--artifacts {tmp_path}'", own_files)
    assert "model.synap  (CPU bundle, not an NPU build)" in result.stdout, result.stderr
    for target in ("sl1640", "sl1680"):
        assert (tmp_path / "mobilenet_v2_sample" / target / "model.synap").is_file()


def form(text: str) -> list[str]:
    """The lines with placeholders for numbers, with their units, and without the folders of files."""
    text = re.sub(r"\S*/(sl16\d0/)", r"\1", text)
    text = re.sub(r"[+-]?\d+(\.\d+)?(e-?\d+)?", "N", re.sub(" +", " ", text))
    text = re.sub(r" N [Mk]B (N s|N min|stored) *$", " SIZE TIME", text, flags=re.MULTILINE)
    return text.splitlines()


def test_the_readme_shows_what_a_run_prints(made: Any, lab: Any, tmp_path: Path) -> None:
    """The same stages of a small model, also without the toolkit. What this test notices is another
    wording or form: then run `make demo`, and put what it prints into the README."""
    readme = (ROOT / "README.md").read_text()
    (shown,) = re.findall(
        r"<!-- demo output -->\n```\n(.*?)```\n<!-- end of demo output -->", readme, re.DOTALL
    )
    (tmp_path / "empty").mkdir()
    words = ["--set", "compile.delegate=npu", "--set", "compile.if_toolkit_missing=cpu"]
    words += ["--set", "equalize.max_calibration_error=0.009"]  # there is something to compute
    done = lab.call(made.command("run", *words), PATH=str(tmp_path / "empty"))
    assert done.code == 0, done.err
    printed, expected = form(done.out), form(shown)
    for line, pattern in zip(printed, expected, strict=True):
        assert re.fullmatch(re.escape(pattern).replace("…", ".*"), line), (pattern, line)


QUICK = [c for c in COMMANDS if c.startswith(".venv/bin/python") and c not in SLOW]


@pytest.mark.parametrize("command", QUICK)
def test_the_program_itself(command: str, own_files: Path) -> None:
    result = run(with_own_files(command, own_files), own_files)
    assert result.returncode == 0, result.stderr
    if command.endswith("--json"):
        assert 0 <= json.loads(result.stdout)["top1"] <= 1
    elif command.endswith("schema"):
        assert json.loads(result.stdout)["title"] == "Recipe"
    elif " plan " in command:
        assert result.stdout.startswith("weights")


@pytest.mark.slow
def test_until_quantize_and_then_the_demo_has_it(own_files: Path) -> None:
    (command,) = (c for c in SLOW if "--until" in c)
    assert command in COMMANDS
    result = run(command, own_files)
    assert result.returncode == 0, result.stderr
    assert "quantize: PASS" in result.stdout


@pytest.mark.slow
def test_bench_prints_its_table_and_writes_its_file(own_files: Path) -> None:
    result = run("make bench ARGS='--images 2'", own_files)
    assert result.returncode == 0, result.stderr
    rows = json.loads((ROOT / "artifacts" / "bench.json").read_text())
    assert {"name", "subject", "value", "unit", "per"} <= rows[0].keys()
    subjects = {row["subject"] for row in rows}
    assert {"ours", "onnxruntime-minmax", "onnxruntime-percentile"} <= subjects
    assert all(row["value"] is not None for row in rows if row["subject"] == "ours")
