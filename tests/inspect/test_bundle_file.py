"""Bundles for the NPU and the CPU, and what does not fit together in them."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.inspect import bundle_file
from pipeline.inspect.bundle_file import describe_bundle
from pipeline.synap.bundle import Meta, Quantize, Source, Subgraph, Tensor
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.bundle_write import write_bundle

Put = Callable[..., Path]


def test_a_cpu_bundle(files: Any, lab: Any) -> None:
    contents = describe_bundle(files.cpu_synap)
    assert (contents.format, contents.delegates) == ("synap", ("cpu",))
    assert contents.facts == {"subgraphs": 1, "npu_build": False}
    [image], [scores] = contents.inputs, contents.outputs
    assert (image.shape, image.dtype, image.layout) == ((1, 3, 8, 8), "float32", "nchw")
    assert (image.means, image.deviations) == ((127.0,) * 3, (127.5,))
    assert (image.meaning, scores.meaning) == ("rgb", "confidence_array")
    assert contents.quantization is not None
    assert contents.quantization.scheme == "asymmetric_affine"
    [subgraph] = contents.subgraphs
    model = read_bundle(files.cpu_synap).subgraphs[0].model
    assert subgraph.sha256 == hashlib.sha256(model).hexdigest()
    assert (subgraph.bytes, subgraph.entry) == (len(model), "subgraph_0.onnx")
    assert (subgraph.delegate, subgraph.engine) == ("cpu", "onnx cpu=1")
    assert subgraph.sources == ("input 0",)
    assert subgraph.model.inputs[0].scale == (lab.STEP,)
    assert subgraph.model.operators["Conv"] == 1
    assert contents.warnings == ("CPU bundle, not an NPU build",)


def test_an_npu_bundle(files: Any, lab: Any) -> None:
    contents = describe_bundle(files.npu_synap)
    assert (contents.delegates, contents.facts["npu_build"]) == (("npu",), True)
    [image] = contents.inputs
    assert (image.dtype, image.scale, image.zero_point) == ("uint8", (lab.STEP,), (127,))
    assert contents.quantization is not None
    assert contents.quantization.scheme == "asymmetric_affine"
    assert contents.target_hints[0].startswith("hardware_type 0xc1: VS680")
    assert contents.subgraphs[0].model.format == "npu"
    [caution] = contents.warnings
    assert "means with a fraction at input: the runtime cuts them to integers" in caution


def written(folder: Path, *subgraphs: Subgraph) -> Path:
    path = folder / "model.synap"
    write_bundle(path, subgraphs)
    return path


def test_a_float_npu_model(lab: Any, tmp_path: Path) -> None:
    meta = lab.npu_meta(quantized=False)
    contents = describe_bundle(written(tmp_path, Subgraph(lab.npu_model(), meta)))
    assert contents.quantization is not None
    assert (contents.quantization.kind, contents.quantization.data_type) == ("float", "float16")
    assert any(word.startswith("float model") for word in contents.warnings)


def test_integers_without_scales_say_nothing(lab: Any, tmp_path: Path) -> None:
    meta = lab.npu_meta(quantizer="none")
    contents = describe_bundle(written(tmp_path, Subgraph(lab.npu_model(), meta)))
    assert contents.quantization is None
    assert any(word.startswith("nothing says whether") for word in contents.warnings)


@pytest.mark.parametrize(
    ("quantizer", "quantize", "scale", "zero_point"),
    [
        ("dynamic_fixed_point", Quantize(qtype="i8", fl=5), (2**-5,), (0,)),
        ("dynamic_fixed_point", Quantize(qtype="i16", fl=(-2,)), (4.0,), (0,)),
        ("dynamic_fixed_point", Quantize(qtype="i16", fl=10**9), (), ()),
        ("dynamic_fixed_point", Quantize(qtype="i16"), (), ()),
        ("asymmetric_affine", Quantize(scale=(0.5, 0.25), zero_point=(1, 2)), (0.5, 0.25), (1, 2)),
        ("asymmetric_affine", Quantize(scale=0.5), (0.5,), (0,)),
        ("asymmetric_affine", Quantize(), (), ()),
    ],
)
def test_scales_as_the_runtime_reads_them(
    lab: Any, tmp_path: Path, quantizer: str, quantize: Quantize, scale: object, zero_point: object
) -> None:
    meta = lab.npu_meta(quantizer=quantizer, quantize=quantize)
    contents = describe_bundle(written(tmp_path, Subgraph(lab.npu_model(), meta)))
    assert (contents.inputs[0].scale, contents.inputs[0].zero_point) == (scale, zero_point)
    several = any("several scales" in word for word in contents.warnings)
    assert several is (len(contents.inputs[0].scale) > 1)


def test_several_subgraphs(files: Any, lab: Any, tmp_path: Path) -> None:
    """A TFLite model behind the NPU one, with the class names."""
    tail = Meta(
        inputs={"input": Tensor(shape=(1, 8, 8, 3), dtype="uint8")},
        outputs={"logits": Tensor(shape=(1, 4), dtype="uint8")},
        delegate="tflite gpu=0 ",
    )
    second = Subgraph(
        files.model_tflite.read_bytes(), tail, (Source(subgraph=0, out=0),), "tail\x7f.tflite"
    )
    with pytest.raises(StageError, match="cannot be the name of an entry"):
        written(tmp_path, Subgraph(lab.npu_model(), lab.npu_meta()), second)
    second = Subgraph(second.model, tail, second.sources, "tail.tflite")
    contents = describe_bundle(written(tmp_path, Subgraph(lab.npu_model(), lab.npu_meta()), second))
    assert contents.delegates == ("npu", "tflite")
    assert contents.subgraphs[1].sources == ("subgraph 0 output 0",)
    assert contents.class_names == lab.CLASSES
    assert contents.quantization is None, "the two are not alike"
    assert any(word.startswith("runs on npu, tflite") for word in contents.warnings)


def test_a_description_that_is_not_the_models(files: Any, lab: Any, tmp_path: Path) -> None:
    [good] = read_bundle(files.cpu_synap).subgraphs
    image = good.inputs[0].model_copy(update={"shape": (1, 3, 16, 16)})
    meta = Meta(inputs={"input": image}, outputs=good.meta.outputs, delegate="onnx cpu=1 ")
    words = describe_bundle(written(tmp_path, Subgraph(good.model, meta))).warnings
    assert (
        "subgraph 0: the meta says float32 [1, 3, 16, 16] of input, the model float32 [1, 3, 8, 8]"
        in words
    )
    more = {**good.meta.outputs, "more": Tensor(shape=(1,))}
    meta = Meta(inputs=good.meta.inputs, outputs=more, delegate="onnx cpu=1 ")
    words = describe_bundle(written(tmp_path, Subgraph(good.model, meta))).warnings
    assert "subgraph 0: the meta has 2 outputs, the model 1" in words
    npu = Subgraph(lab.npu_model(counts=(2, 1, 0)), lab.npu_meta())
    words = describe_bundle(written(tmp_path, npu)).warnings
    assert "subgraph 0: the meta has 1 inputs and 1 outputs, the model 2 and 1" in words


@pytest.mark.parametrize(
    ("delegate", "said"),
    [
        ("npu", "subgraph 0: not an NPU model: it starts with"),
        ("onnx cpu=1 ", "subgraph 0: is not a readable ONNX model"),
        ("onnx gpu=1 ", "subgraph 0: is not a readable ONNX model"),
        ("tflite gpu=0 ", "subgraph 0: is not a readable TFLite model"),
    ],
)
def test_a_model_that_is_none(lab: Any, tmp_path: Path, delegate: str, said: str) -> None:
    meta = lab.npu_meta().model_copy(update={"delegate": delegate})
    with pytest.raises(StageError, match=said):
        describe_bundle(written(tmp_path, Subgraph(b"\xffnothing", meta)))


def test_old_npu_models(lab: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="old VPMN format"):
        describe_bundle(written(tmp_path, Subgraph(b"VPMN" + bytes(80), lab.npu_meta())))


def raw(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


GRAPH: dict[str, Any] = {
    "graph": [{"inputs": [{"subgraph": -1, "out": 0}], "model": "0/m", "meta": "0/j"}],
    "outputs": [{"subgraph": 0, "out": 0}],
}


def test_hostile_archives(tmp_path: Path) -> None:
    path = tmp_path / "m.synap"
    with pytest.raises(StageError, match="unsafe name"):
        describe_bundle(raw(path, {"../../bundle.json": b"{}"}))
    with pytest.raises(StageError, match="is compressed"):
        describe_bundle(raw(path, {"bundle.json": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(StageError, match=r"'bundle\.json' is missing"):
        describe_bundle(raw(path, {}))
    with pytest.raises(StageError, match=r"nested too deeply|not usable JSON"):
        describe_bundle(raw(path, {"bundle.json": b"[" * 100_000}))
    with pytest.raises(StageError, match=r"not usable JSON|bundle\.json"):
        describe_bundle(raw(path, {"bundle.json": b'{"graph": 7}'}))


def test_more_json_than_a_bundle_has(tmp_path: Path) -> None:
    """Whatever the entries are called: half a megabyte of tensors takes fifty of memory."""
    path = tmp_path / "m.synap"
    graph = json.dumps(GRAPH).encode()
    tensors = {f"t{n}": {"shape": [1]} for n in range(40_000)}
    meta = json.dumps({"Inputs": tensors, "Outputs": {"o": {"shape": [1]}}}).encode()
    with pytest.raises(StageError, match="bytes of JSON are too many"):
        describe_bundle(raw(path, {"bundle.json": graph, "0/m": b"m", "0/j": meta}))
    with pytest.raises(StageError, match="bytes of JSON are too many"):
        describe_bundle(raw(path, {"bundle.json": b" " * (bundle_file.MAX_DESCRIPTIONS + 1)}))


def test_too_many_tensors(lab: Any, tmp_path: Path) -> None:
    tensors = {f"t{n}": Tensor(shape=(1,)) for n in range(1_001)}
    meta = Meta(inputs=lab.npu_meta().inputs, outputs=tensors)
    with pytest.raises(StageError, match="more than 1000 inputs and outputs"):
        describe_bundle(written(tmp_path, Subgraph(lab.npu_model(), meta)))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="there is no such bundle"):
        describe_bundle(tmp_path / "none.synap")
