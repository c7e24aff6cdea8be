"""What `write_bundle` leaves on disk."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.synap.bundle import Meta, Source, Subgraph, Tensor
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.bundle_write import write_bundle
from pipeline.synap.cpu_meta import cpu_onnx_meta


def cpu(model: bytes = b"onnx bytes") -> Subgraph:
    meta = cpu_onnx_meta(
        input_name="input",
        input_shape=[1, 3, 8, 8],
        means=[127.5] * 3,
        scale=127.5,
        output_name="logits",
        output_shape=[1, 4],
    )
    return Subgraph(model, meta)


def npu(wiring: tuple[Source, ...] = ()) -> Subgraph:
    tensor = Tensor(shape=(1, 4), dtype="uint8")
    return Subgraph(b"nb bytes", Meta(inputs={"i": tensor}, outputs={"o": tensor}), wiring)


def test_a_cpu_bundle_has_the_toolkits_layout(tmp_path: Path) -> None:
    path = tmp_path / "model.synap"
    write_bundle(path, [cpu()])
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        assert [e.filename for e in entries] == [
            "bundle.json",
            "0/subgraph_0.onnx",
            "0/subgraph_0.json",
        ]
        assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {e.compress_type for e in entries} == {zipfile.ZIP_STORED}
        graph = json.loads(archive.read("bundle.json"))
        assert archive.read("0/subgraph_0.onnx") == b"onnx bytes"
    assert graph == {
        "graph": [
            {
                "inputs": [{"subgraph": -1, "out": 0}],
                "model": "0/subgraph_0.onnx",
                "meta": "0/subgraph_0.json",
            }
        ],
        "outputs": [{"subgraph": 0, "out": 0}],
    }


def test_an_npu_bundle_is_named_as_the_toolkit_names_it(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m.synap", [npu()])
    with zipfile.ZipFile(tmp_path / "m.synap") as archive:
        assert archive.namelist() == ["bundle.json", "0/model.nb", "0/model.json"]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.synap", tmp_path / "b.synap"
    write_bundle(first, [cpu()])
    os.utime(first, (0, 0))
    write_bundle(second, [cpu()])
    assert first.read_bytes() == second.read_bytes()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "model.synap"
    second = npu((Source(subgraph=0, out=0),))
    write_bundle(path, [cpu(), second], [Source(subgraph=1, out=0), Source(subgraph=0, out=0)])
    bundle = read_bundle(path)
    assert [s.name for s in bundle.subgraphs] == ["subgraph_0.onnx", "model.nb"]
    assert [s.model for s in bundle.subgraphs] == [b"onnx bytes", b"nb bytes"]
    assert [s.meta for s in bundle.subgraphs] == [cpu().meta, second.meta]
    assert bundle.delegates == ("cpu", "npu")
    assert not bundle.is_npu_build
    assert [t.shape for t in bundle.outputs] == [(1, 4), (1, 4)]
    assert bundle.inputs[0].mean == (127.5, 127.5, 127.5)
    again = tmp_path / "again.synap"
    write_bundle(again, bundle.subgraphs, bundle.sinks)
    assert again.read_bytes() == path.read_bytes()


def test_an_existing_bundle_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.synap"
    write_bundle(path, [cpu(b"old")])
    with pytest.raises(StageError, match="cycle"):
        write_bundle(path, [npu((Source(subgraph=0, out=0),))])
    assert read_bundle(path).subgraphs[0].model == b"old"
    write_bundle(path, [cpu(b"new")])
    assert read_bundle(path).subgraphs[0].model == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["model.synap"], "no temporary file is left"


@pytest.mark.parametrize("name", ["../evil.onnx", "/etc/passwd", "a\\b.onnx", "x\n.onnx", "a.json"])
def test_a_name_that_could_not_be_read_back_is_refused(tmp_path: Path, name: str) -> None:
    good = cpu()
    with pytest.raises(StageError, match="cannot be the name"):
        write_bundle(tmp_path / "m.synap", [Subgraph(good.model, good.meta, (), name)])


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="without a subgraph"):
        write_bundle(tmp_path / "m.synap", [])
    with pytest.raises(StageError, match="is empty"):
        write_bundle(tmp_path / "m.synap", [cpu(b"")])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "m.synap", [cpu()])
