"""Running the toolkit: natively and in a container, well and in every way badly.

The toolkit is a test double (`stand_in/`): what is tested is how it is called, what becomes of
its files, and how its failures are told.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import StageError
from pipeline.progress import Bar, Silent
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.ebgx import parse_ebgx
from pipeline.synap.metafile import Quantization, classifier_metafile
from pipeline.synap.metafile_check import dump_metafile
from pipeline.synap.model_info import read_model_info, require_quantized
from pipeline.synap.toolkit_find import Toolkit, find_toolkit
from pipeline.synap.toolkit_run import ToolkitRun, run_toolkit
from pipeline.targets import load_target

IMAGE = "ghcr.io/synaptics-synap/toolkit:3.2.0"
KINDS = ("native", "container")


class Recorder(Silent):
    """Notes how far the bar came."""

    def __init__(self) -> None:
        super().__init__()
        self.advanced: list[float] = []

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Bar]:
        assert total == 100
        advanced = self.advanced

        class Counter:
            def advance(self, amount: float = 1.0) -> None:
                advanced.append(amount)

        yield Counter()


def toolkit(stand_ins: Any, kind: str) -> Toolkit:
    stand_ins.converter() if kind == "native" else stand_ins.engine("docker")
    found = find_toolkit(kind, IMAGE).found  # type: ignore[arg-type]
    assert found is not None
    return found


def float_onnx(folder: Path) -> tuple[Path, Path]:
    """A stage's folder with a float model that the toolkit is to quantize."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"not read by the stand-in")
    (folder / "calibration").mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8)).save(folder / "calibration" / f"{number}.png")
    text = dump_metafile(
        classifier_metafile(
            means=[127.5] * 3,
            scale=127.5,
            input_name="input",
            input_shape=[1, 3, 8, 8],
            output_name="logits",
            output_shape=[1, 4],
            quantization=Quantization(
                data_type="uint8", scheme="asymmetric_affine", dataset=("calibration/*.png",)
            ),
        ),
        "onnx",
    )
    (folder / "metafile.yaml").write_text(text)
    return folder / "model.onnx", folder / "metafile.yaml"


def run(
    stand_ins: Any, kind: str, folder: Path, *, timeout: float = 60.0, progress: Any = None
) -> ToolkitRun:
    model, metafile = float_onnx(folder)
    return run_toolkit(
        toolkit(stand_ins, kind),
        folder,
        model,
        metafile,
        load_target("sl1680"),
        timeout=timeout,
        log_path=folder / "toolkit.log",
        failure_log=folder.parent / "logs" / "last.log",
        progress=progress or Silent(),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["stage", "a stage"])
def test_a_model_and_its_listings(stand_ins: Any, tmp_path: Path, kind: str, name: str) -> None:
    progress = Recorder()
    folder = tmp_path / name
    result = run(stand_ins, kind, folder, progress=progress)
    assert result.model == folder / "out" / "model.synap"
    assert [p.name for p in result.listings] == ["model_info.txt", "quantization_info.yaml"]
    bundle = read_bundle(result.model)
    assert bundle.is_npu_build
    assert parse_ebgx(bundle.subgraphs[0].model).hardware_type == 0xC1
    assert bundle.inputs[0].mean == (127.5, 127.5, 127.5)
    assert require_quantized(result.listings, by_toolkit=True).version == "3.2.0"
    assert sum(progress.advanced) == 100
    assert sorted(p.name for p in (folder / "out").iterdir()) == [
        "model.synap",
        "model_info.txt",
        "quantization_info.yaml",
    ], "neither cache nor build folder is kept"
    assert "Conversion successful" in result.log.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_the_folder_is_touched(stand_ins: Any, tmp_path: Path, kind: str) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    stand_ins.monkeypatch.setenv("TMPDIR", str(temporary))
    stand_ins.monkeypatch.setattr("tempfile.tempdir", str(temporary))
    run(stand_ins, kind, tmp_path / "stage")
    assert list(temporary.iterdir()) == [], "a temporary folder was left"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "stage", "state", "tmp"]
    assert sorted(p.name for p in (tmp_path / "stage").iterdir()) == [
        "calibration",
        "metafile.yaml",
        "model.onnx",
        "out",
        "toolkit.log",
    ]


def test_the_native_command(stand_ins: Any, tmp_path: Path) -> None:
    argv = run(stand_ins, "native", tmp_path / "a stage").argv
    assert argv[0] == str(stand_ins.bin / "synap_convert")
    assert argv[1::2] == ("--model", "--meta", "--target", "--out-dir")
    assert argv[6] == "SL1680"
    assert not any(" " in part for part in argv), "the toolkit cannot bear spaces in paths"


def test_the_container_command(stand_ins: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a stage"
    argv = run(stand_ins, "container", folder).argv
    text = " ".join(argv)
    assert f"--user {os.getuid()}:{os.getgid()} " in text
    assert "--network none " in text
    assert "--pull never " in text
    assert f"--mount type=bind,source={folder},target=/synap --workdir /synap " in text
    assert text.endswith(
        "sha256:5ca1ab1e convert --model model.onnx --meta metafile.yaml --target SL1680 "
        "--out-dir out"
    )


def test_a_quantized_tflite_needs_no_metafile(stand_ins: Any, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"not read by the stand-in")
    result = run_toolkit(
        toolkit(stand_ins, "native"),
        tmp_path,
        Path("model.tflite"),
        None,
        load_target("sl1640"),
        timeout=60,
        log_path=tmp_path / "log.txt",
        failure_log=tmp_path / "failed.txt",
        progress=Silent(),
    )
    assert parse_ebgx(read_bundle(result.model).subgraphs[0].model).hardware_type == 0xC2
    assert require_quantized(result.listings, by_toolkit=False).is_quantized
    assert [p.name for p in result.listings] == ["model_info.txt"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit1", "ended with exit code 1: Layer name 'conv7' not in: "),
        ("traceback", "crashed with exit code 1: KeyError: 'attach_conv1/out0_0'"),
        ("long_traceback", "crashed with exit code 1: ValueError: the compiler's tables"),
        ("killed", r"was killed \(SIGKILL\), which is what happens when memory runs out"),
        ("disk_full", "ended with exit code 1: the disk is full"),
        ("no_output", "ended with exit code 0 and left no model.synap"),
        ("spam", "ended with exit code 1: too much was said"),
    ],
)
def test_a_failure_is_told(stand_ins: Any, tmp_path: Path, kind: str, how: str, said: str) -> None:
    stand_ins.fail(how)
    folder = tmp_path / "stage"
    with pytest.raises(StageError, match=said) as caught:
        run(stand_ins, kind, folder)
    error = caught.value
    assert "command: " in error.what
    assert "--target SL1680" in error.what
    assert "its last lines:" in error.what or "it said nothing" in error.what
    kept = tmp_path / "logs" / "last.log"
    assert error.hint == f"all of its output is in {kept}"
    assert kept.read_text().startswith("$ ")
    assert kept.read_bytes() == (folder / "toolkit.log").read_bytes()
    assert len(error.what) < 5000
    assert "\x1b" not in error.what


def test_a_log_that_cannot_be_kept_hides_no_failure(stand_ins: Any, tmp_path: Path) -> None:
    stand_ins.fail("exit1")
    (tmp_path / "logs").write_text("not a folder")
    with pytest.raises(StageError, match="Layer name 'conv7' not in") as caught:
        run(stand_ins, "native", tmp_path / "stage")
    assert caught.value.hint.startswith("its output could not be kept in ")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_the_time_limit_ends_toolkit_and_container(
    stand_ins: Any, tmp_path: Path, kind: str
) -> None:
    stand_ins.fail("hang")
    stand_ins.monkeypatch.setattr("pipeline.process_group.GRACE_SECONDS", 0.2)
    with pytest.raises(StageError, match=r"did not finish within 3 s and was stopped") as caught:
        run(stand_ins, kind, tmp_path / "stage", timeout=3.0)
    assert "Waiting for the compiler" in caught.value.what
    pids = stand_ins.remembered_pids()
    assert len(pids) == 2, "the stand-in had no time to start"
    for _ in range(100):
        if not any(is_running(pid) for pid in pids):
            break
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def test_what_the_toolkit_leaves_running_is_ended(stand_ins: Any, tmp_path: Path) -> None:
    stand_ins.fail("left_behind")
    assert run(stand_ins, "native", tmp_path / "stage").model.is_file()
    (pid,) = stand_ins.remembered_pids()
    for _ in range(100):
        if not is_running(pid):
            break
        time.sleep(0.05)
    assert not is_running(pid)


def test_a_float_result_is_noticed(stand_ins: Any, tmp_path: Path) -> None:
    stand_ins.fail("float")
    result = run(stand_ins, "native", tmp_path / "stage")
    assert not read_model_info(result.listings[0]).is_quantized
    with pytest.raises(StageError, match=r"compiled a float model \(input float16, logits"):
        require_quantized(result.listings, by_toolkit=True)


def test_results_that_are_there_are_not_overwritten(stand_ins: Any, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    run(stand_ins, "native", folder)
    before = (folder / "out" / "model.synap").read_bytes()
    with pytest.raises(StageError, match="already there"):
        again(stand_ins, folder, "model.onnx")
    assert (folder / "out" / "model.synap").read_bytes() == before


def again(stand_ins: Any, folder: Path, model: str | Path, kind: str = "native") -> ToolkitRun:
    return run_toolkit(
        toolkit(stand_ins, kind),
        folder,
        Path(model),
        None,
        load_target("sl1680"),
        timeout=60,
        log_path=folder / "log.txt",
        failure_log=folder / "failed.txt",
        progress=Silent(),
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.onnx", "there is no such file"),
        ("a b.onnx", "cannot take a file called 'a b.onnx'"),
        ("-x.onnx", "cannot take a file called '-x.onnx'"),
        ("../outside.onnx", "is not in"),
        ("link.onnx", "is a link out of"),
        ("folder/link/outside.onnx", "is not in"),
    ],
)
def test_a_file_that_the_toolkit_cannot_see(
    stand_ins: Any, tmp_path: Path, name: str, said: str
) -> None:
    folder = tmp_path / "stage"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "outside.onnx").write_bytes(b"1")
    (folder / "a b.onnx").write_bytes(b"1")
    (folder / "-x.onnx").write_bytes(b"1")
    (folder / "link.onnx").symlink_to(tmp_path / "outside.onnx")
    (folder / "folder" / "link").symlink_to(tmp_path)
    with pytest.raises(StageError, match=said):
        again(stand_ins, folder, name)


def test_a_file_in_a_folder_below(stand_ins: Any, tmp_path: Path) -> None:
    (tmp_path / "stage" / "models").mkdir(parents=True)
    (tmp_path / "stage" / "models" / "m.tflite").write_bytes(b"1")
    assert again(stand_ins, tmp_path / "stage", tmp_path / "stage/models/m.tflite").model.is_file()


def test_a_folder_that_cannot_be_mounted(stand_ins: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    (folder / "m.tflite").write_bytes(b"1")
    with pytest.raises(StageError, match="because of the comma"):
        again(stand_ins, folder, "m.tflite", "container")


def test_a_temporary_folder_with_a_space(stand_ins: Any, tmp_path: Path) -> None:
    (tmp_path / "t m p").mkdir()
    stand_ins.monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t m p"))
    (tmp_path / "m.tflite").write_bytes(b"1")
    with pytest.raises(StageError, match="because of the space") as caught:
        again(stand_ins, tmp_path, "m.tflite")
    assert "TMPDIR" in caught.value.hint


def test_a_temporary_folder_that_is_not_there(stand_ins: Any, tmp_path: Path) -> None:
    stand_ins.monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    (tmp_path / "m.tflite").write_bytes(b"1")
    with pytest.raises(StageError, match="files cannot be kept"):
        again(stand_ins, tmp_path, "m.tflite")


@pytest.mark.parametrize("kind", KINDS)
def test_a_toolkit_that_is_gone_meanwhile(stand_ins: Any, tmp_path: Path, kind: str) -> None:
    (tmp_path / "m.tflite").write_bytes(b"1")
    found = toolkit(stand_ins, kind)
    found.program.unlink()
    with pytest.raises(StageError, match="cannot be run"):
        run_toolkit(
            found, tmp_path, Path("m.tflite"), None, load_target("sl1680"), timeout=9,
            log_path=tmp_path / "log.txt", failure_log=tmp_path / "failed.txt", progress=Silent(),
        )  # fmt: skip


def test_an_image_that_is_gone_meanwhile_is_not_pulled(stand_ins: Any, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"1")
    found = toolkit(stand_ins, "container")
    stand_ins.engine("docker", image=None)
    with pytest.raises(StageError, match="exit code 125: the container engine could not") as caught:
        run_toolkit(
            found, tmp_path, Path("m.tflite"), None, load_target("sl1680"), timeout=9,
            log_path=tmp_path / "log.txt", failure_log=tmp_path / "failed.txt", progress=Silent(),
        )  # fmt: skip
    assert "No such image" in caught.value.what
