"""Any file in, a description or one error in words out."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError, StageError, UsageError
from pipeline.inspect import READERS, inspect_file
from pipeline.inspect.content import MAX_BYTES

Put = Callable[..., Path]
NAMES = (
    "float_onnx", "qdq_onnx", "model_tflite", "channels_tflite", "cpu_synap", "npu_synap",
    "meta_yaml",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_file(files: Any, name: str) -> None:
    path = getattr(files, name)
    inspection = inspect_file(path)
    content = path.read_bytes()
    assert inspection.bytes == len(content)
    assert inspection.sha256 == hashlib.sha256(content).hexdigest()
    data = json.loads(json.dumps(inspection.to_json(), allow_nan=False))
    assert data["format"] in ("onnx", "tflite", "synap", "metafile")
    assert data["inputs"][0]["name"] == "input"
    assert data["quantization"]["kind"] == ("float" if name == "float_onnx" else "quantized")


def test_both_renderings_of_a_plan_are_described_alike(files: Any) -> None:
    """QDQ ONNX and integer TFLite are written by different code and read by different code."""
    qdq, tflite = inspect_file(files.qdq_onnx).contents, inspect_file(files.model_tflite).contents
    assert qdq.quantization is not None
    assert tflite.quantization is not None
    assert qdq.quantization.scheme == tflite.quantization.scheme
    assert qdq.quantization.data_type == tflite.quantization.data_type
    for one, other in zip(
        (*qdq.inputs, *qdq.outputs), (*tflite.inputs, *tflite.outputs), strict=True
    ):
        assert (one.name, one.scale, one.zero_point) == (other.name, other.scale, other.zero_point)
        assert (one.means, one.deviations) == (other.means, other.deviations)


def test_endings_in_any_case(files: Any, put: Put) -> None:
    assert inspect_file(put(files.float_onnx, "M.ONNX")).format == "onnx"
    assert inspect_file(put(files.meta_yaml, "m.yml")).format == "metafile"


def test_endings_that_are_not_known(put: Put) -> None:
    with pytest.raises(UsageError, match=r"cannot inspect m.pt\n  known: .synap, .onnx"):
        inspect_file(put(b"", "m.pt"))


@pytest.mark.parametrize("ending", READERS)
def test_what_is_no_file(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    for name in ("pipe", "folder", "none"):
        with pytest.raises(StageError, match="there is no such file"):
            inspect_file(tmp_path / f"{name}{ending}")


@pytest.mark.parametrize("ending", READERS)
def test_empty_and_enormous_files(put: Put, tmp_path: Path, ending: str) -> None:
    path = put(b"", f"m{ending}")
    if ending in (".yaml", ".yml"):
        assert inspect_file(path).contents.inputs == ()
    else:
        with pytest.raises(StageError):
            inspect_file(path)
    with path.open("wb") as stream:  # has no blocks on the disk
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(StageError, match="are more than such a file can have"):
        inspect_file(path)


def test_messages_do_nothing_to_a_terminal(put: Put) -> None:
    path = put('"\\x1b[2J": 1\n', "m.yaml")
    with pytest.raises(PipelineError) as caught:
        inspect_file(path)
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[2J: unknown field" in str(caught.value)
    faults = "".join(f"unknown_{n}: 1\n" for n in range(5_000))
    with pytest.raises(PipelineError) as caught:
        inspect_file(put(faults, "m.yaml"))
    assert len(str(caught.value)) < 5_000


def outcome(path: Path) -> str:
    """The JSON of a file's description, or the error."""
    try:
        return json.dumps(inspect_file(path).to_json(), allow_nan=False)
    except PipelineError as error:
        return str(error)


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_cut_and_garbled_files(files: Any, tmp_path: Path, data: st.DataObject) -> None:
    source = getattr(files, data.draw(st.sampled_from(NAMES)))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / f"m{source.suffix}"
    path.write_bytes(content)
    assert outcome(path)


@given(st.binary(max_size=300), st.sampled_from(sorted(READERS)))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bytes_from_anywhere(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"m{ending}"
    path.write_bytes(content)
    assert outcome(path)


def test_no_heavy_library_is_loaded(files: Any, lab: Any) -> None:
    """Neither to run what is in a file nor to build all of it in memory."""
    program = (
        "import sys; from pathlib import Path; from pipeline.inspect import inspect_file\n"
        "for name in sys.argv[1:]: inspect_file(Path(name))\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'timm'} & set(sys.modules)\n"
        "heavy |= {m for m in sys.modules if m.startswith('ai_edge_litert.interpreter')}\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    paths = [str(getattr(files, name)) for name in NAMES]
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
