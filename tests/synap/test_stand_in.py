"""The test doubles themselves: each rule they enforce, broken, so that it is not there for show."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).parent / "stand_in"
INPUT = "inputs: [{name: input, shape: [1, 3, 8, 8], means: [1, 1, 1], scale: 1}]\n"
QUANTIZE = INPUT + "quantization: {dataset: ['c/*.png'], scheme: asymmetric_affine"

Result = subprocess.CompletedProcess[str]


def convert(folder: Path, metafile: str | None = None, *more: str, model: str = "m.onnx") -> Result:
    """Run the converter's double in `folder` on a model with this metafile."""
    (folder / "c").mkdir(exist_ok=True)
    (folder / "c" / "1.png").write_bytes(b"")
    (folder / "m.onnx").write_bytes(b"")
    (folder / "m.tflite").write_bytes(b"")
    (folder / "m.h5").write_bytes(b"")
    arguments = ["--model", model, "--target", "SL1680", "--out-dir", "out", *more]
    if metafile is not None:
        (folder / "m.yaml").write_text(metafile)
        arguments += ["--meta", "m.yaml"]
    return call(folder, "synap_convert.py", *arguments)


def call(folder: Path, program: str, *arguments: str) -> Result:
    return subprocess.run(
        [sys.executable, str(STAND_IN / program), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "metafile",
    [
        None,
        INPUT,
        QUANTIZE + "}",
        QUANTIZE + ", data_type: {'*': uint8, conv1: int16}}",
        QUANTIZE + ", data_type: {INPUTS: int8, '*': int16}}",
        "inputs: [{}]\nquantization: {dataset: ['c/*.png']}",
        # The toolkit looks at neither scheme nor a missing dataset.
        QUANTIZE.replace("asymmetric_affine", "bogus") + "}",
        INPUT + "quantization: {scheme: asymmetric_affine}",
        "optimize: ${ENV:NOT_SET}",
    ],
)
def test_what_it_takes(tmp_path: Path, metafile: str | None) -> None:
    result = convert(tmp_path, metafile)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("Conversion successful\n")


@pytest.mark.parametrize(
    ("metafile", "said"),
    [
        ("optimise: true", "Error: Invalid field(s) in yaml file: optimise"),
        ("inputs: [{stds: [1]}]", "Error: Invalid field(s) in yaml file: stds"),
        ("outputs: [{scale: 1}]", "Error: Invalid field(s) in yaml file: scale"),
        ("quantization: {type: int8}", "Error: Invalid field(s) in yaml file: type"),
        ("inputs: [{preprocess: {kind: rgb}}]", "Error: Invalid field(s) in yaml file: kind"),
        ("inputs: [x]", "Error: Invalid field in yaml file: x is not a dictionary"),
        ("inputs: [{name: a}]", "Error: Input shape is mandatory"),
        ("inputs: [{shape: [1, 3]}]", "Error: Input name is mandatory"),
        ("inputs: [{name: a, shape: [3]}]", "Error: Shape for input 'a' doesn't include batch"),
        ("inputs: [{scale: 0}]", "Error: invalid scale"),
        ("inputs: [{scale: [1, 2]}]", "Error: invalid scale"),
        ("data_layout: nhwc", "Error: DataLayout.NHWC layout not supported"),
        ("delegate: dsp", "Error: Invalid delegate type: dsp"),
        ("delegate: cpu", "Error: this test double compiles for the NPU only"),
        (QUANTIZE + "}\ndelegate: {'*': npu, a: cpu}", "doesn't support model quantization"),
        (QUANTIZE + ", data_type: float16}", "Error: invalid quantization data_type"),
        (QUANTIZE + ", data_type: {a: uint8, b: int8}}", "Error: mixed quantization with uint8"),
        (QUANTIZE + ", data_type: {a: uint8, b: int16}}", "KeyError: 'a'"),
        (QUANTIZE + ", data_type: {'*': uint8, a: uint8}}", "KeyError: 'a'"),
        (QUANTIZE + ", algorithm: best}", "Error: Invalid quantization algorithm: best"),
        (QUANTIZE + ", mode: fast}", "Error: Invalid quantization mode: fast"),
        ("quantization: {dataset: ['c/*.png']}", "Error: Metafile has 0 input(s) but 1"),
        (QUANTIZE.replace("'c/*.png'", "'d/*.png'") + "}", "Error: Quantization dataset is empty"),
        (
            QUANTIZE.replace("}]", "}, {}]").replace("'c/*.png'", "'c/*.png', 'd/*.png'") + "}",
            "Error: Quantization datasets must have the same number",
        ),
        ("data_layout: ${ENV:LAYOUT_OF_A_TEST}", "Error: DataLayout.NHWC layout"),
    ],
)
def test_a_metafile_that_it_refuses(
    tmp_path: Path, metafile: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYOUT_OF_A_TEST", "nhwc")
    result = convert(tmp_path, metafile)
    assert result.returncode == 1
    assert said in result.stdout + result.stderr
    assert not (tmp_path / "out" / "model.synap").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--modle", "x"], 2, "unrecognized arguments"),
        (["--target", "SL1700"], 1, "Error: Invalid target specified: SL1700"),
        (["--target", "sl1640"], 0, "successful"),
        (["--model", "none.onnx"], 1, "Error: model not found"),
        (["--model", "m.h5"], 1, "Error: unknown network format: .h5"),
        (["--meta", "none.yaml"], 1, "Error: model metafile not found"),
        (["--out-format", "nb"], 1, "TypeError"),
        (["--out-format", "elf"], 1, "Error: unknown output format: elf"),
        (["--out-dir", "o u t"], 1, "Error: No such file or directory"),
        (["--tools-dir", "none"], 1, "Traceback"),
    ],
)
def test_the_command_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    result = convert(tmp_path, None, *arguments)
    assert result.returncode == code
    assert said in result.stdout + result.stderr


def test_a_missing_flag(tmp_path: Path) -> None:
    assert call(tmp_path, "synap_convert.py").returncode == 2


def test_a_space_in_a_calibration_files_name(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a b.png").write_bytes(b"")
    assert "Error: Spaces not allowed" in convert(tmp_path, QUANTIZE + "}").stderr


def test_its_files(tmp_path: Path) -> None:
    convert(tmp_path, QUANTIZE + ", algorithm: kl_divergence}")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "cache",
        "model.synap",
        "model_info.txt",
        "quantization_entropy.txt",
        "quantization_info.yaml",
    ]
    with zipfile.ZipFile(tmp_path / "out" / "model.synap") as archive:
        assert archive.namelist() == ["bundle.json", "0/model.nb", "0/model.json"]
        assert b"NOT COMPILED" in archive.read("0/model.nb"), "it says what it is"


def test_a_silent_run(tmp_path: Path) -> None:
    assert "successful" not in convert(tmp_path, None, "--silent").stdout


GOOD_RUN: dict[str, str | None] = {
    "--pull": "never",
    "--name": "test",
    "--network": "none",
    "--user": f"{os.getuid()}:{os.getgid()}",
    "--mount": "type=bind,source=.,target=/synap",
    "--workdir": "/synap",
}


def engine(stand_ins: Any, folder: Path, change: dict[str, str | None], *command: str) -> Result:
    stand_ins.engine("docker")
    flags = [part for flag, value in (GOOD_RUN | change).items() if value for part in (flag, value)]
    if "--mount" in flags:
        place = flags.index("--mount") + 1
        flags[place] = flags[place].replace("source=.", f"source={folder}")
    rm = [] if "no --rm" in change else ["--rm"]
    (folder / "m.tflite").write_bytes(b"")
    arguments = ["--model", "m.tflite", "--target", "SL1680", "--out-dir", "out"]
    image = "ghcr.io/synaptics-synap/toolkit:3.2.0"
    return call(
        folder, "engine.py", "run", *rm, *flags, image, *(command or ("convert", *arguments))
    )  # fmt: skip


def test_an_engine_that_is_called_well(stand_ins: Any, tmp_path: Path) -> None:
    result = engine(stand_ins, tmp_path, {})
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "model.synap").is_file()
    assert not list(stand_ins.state.glob("*.pid"))


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"--pull": None}, 125, "may be pulled"),
        ({"--network": None}, 125, "the network is open"),
        ({"--network": "host"}, 125, "the network is open"),
        ({"no --rm": None}, 125, "would stay"),
        ({"--name": None}, 125, "could not be ended"),
        ({"--user": None}, 125, "would not be the user's"),
        ({"--user": "12345:0"}, 125, "would not be the user's"),
        ({"--mount": None}, 125, "exactly one"),
        ({"--volume": "/:/host"}, 125, "exactly one"),
        ({"--mount": "type=bind,source=.,target=/work"}, 125, "not a folder at /synap"),
        ({"--workdir": None}, 125, "the working directory"),
        ({"--cap-add": "ALL"}, 2, "unrecognized arguments: --cap-add"),
    ],
)
def test_an_engine_that_is_called_badly(
    stand_ins: Any, tmp_path: Path, change: dict[str, str | None], code: int, said: str
) -> None:
    result = engine(stand_ins, tmp_path, change)
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_not_mounted_is_not_there(stand_ins: Any, tmp_path: Path) -> None:
    (tmp_path / "other.tflite").write_bytes(b"")
    outside = str(tmp_path / "other.tflite")
    command = ("convert", "--model", outside, "--target", "SL1680", "--out-dir", "out")
    result = engine(stand_ins, tmp_path, {}, *command)
    assert (result.returncode, "model not found" in result.stderr) == (1, True)


def test_a_command_that_the_image_has_not(stand_ins: Any, tmp_path: Path) -> None:
    assert engine(stand_ins, tmp_path, {}, "bash").returncode == 127
