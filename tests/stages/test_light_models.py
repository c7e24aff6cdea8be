"""Nine classification networks of 2016 to 2018 from the onnx package's own tests, through the chain.

Their weights are constants that a ConstantOfShape fills in; here those get seeded random values, of
sizes that training would leave, so that the numbers mean something. The three networks with fully
connected layers of 4096 get narrower ones: the structure is what is tested.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from pipeline.check.metrics import sqnr_db
from pipeline.data.preprocess import Preprocess
from pipeline.errors import NoFormError
from pipeline.graph.file import class_count, load_graph, save_graph
from pipeline.graph.foreign import Came, bring_in
from pipeline.graph.foreign_file import load_foreign
from pipeline.graph.proof import pictures, prove
from pipeline.lower.render import render_tflite
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.runners import open_runner
from pipeline.synap.cpu_bundle import write_cpu_bundle

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
VIEW = Preprocess(size=224)
RECIPE = """\
schema: 1
model: {{source: onnx, name: mine, weights: mine.onnx}}
data:
  preprocess: {{size: 224, interpolation: bilinear, crop: 1.0}}
  folder: {images}
  uneven_classes: accept
  calibration: {{dataset: imagenet, images: 4}}
  evaluation: {{dataset: imagenet, images: 10}}
equalize: null
quantize: {{ranges: {{rule: minmax}}, bias_correction: none, rounding: nearest}}
compile: {{delegate: cpu}}
"""
NARROW = 64
"""In place of 4096."""
UINT8 = Quantize(data_type="uint8", ranges=Ranges(rule="minmax"))
INT8 = Quantize(
    data_type="int8", scheme="perchannel_symmetric_affine", ranges=Ranges(rule="minmax")
)


@dataclass(frozen=True)
class Expected:
    """What the canonical Graph consists of, and what keeps it from being TFLite."""

    kinds: dict[str, int]
    stripped: str | None = "Softmax"
    no_form: str | None = None


MODELS = {
    "bvlc_alexnet": Expected(
        {"Conv": 5, "Relu": 7, "LRN": 2, "MaxPool": 3, "Reshape": 1, "Gemm": 3},
        no_form="2 x LRN (first lrn1",
    ),
    "densenet121": Expected(
        {"Conv": 121, "Relu": 121, "Mul": 62, "Add": 62, "Concat": 58, "AveragePool": 3, "MaxPool": 1,
         "GlobalAveragePool": 1, "Flatten": 1},
        stripped=None,
    ),
    "inception_v1": Expected(
        {"Conv": 57, "Relu": 57, "MaxPool": 13, "LRN": 2, "Concat": 9, "AveragePool": 1,
         "Reshape": 1, "Gemm": 1},
        no_form="2 x LRN (first lrn1",
    ),
    "inception_v2": Expected(
        {"Conv": 69, "Relu": 69, "Concat": 10, "AveragePool": 8, "MaxPool": 5, "Reshape": 1, "Gemm": 1},
    ),
    "resnet50": Expected(
        {"Conv": 53, "Relu": 49, "Add": 16, "MaxPool": 1, "AveragePool": 1, "Reshape": 1, "Gemm": 1},
    ),
    "shufflenet": Expected(
        {"Conv": 49, "Relu": 33, "Reshape": 33, "Transpose": 16, "Add": 13, "AveragePool": 4,
         "Concat": 3, "MaxPool": 1, "Gemm": 1},
    ),
    "squeezenet": Expected(
        {"Conv": 26, "Relu": 26, "Concat": 8, "MaxPool": 3, "GlobalAveragePool": 1, "Flatten": 1},
    ),
    "vgg19": Expected({"Conv": 16, "Relu": 18, "MaxPool": 5, "Reshape": 1, "Gemm": 3}),
    "zfnet512": Expected(
        {"Conv": 5, "Relu": 7, "LRN": 2, "MaxPool": 3, "Reshape": 1, "Gemm": 3},
        no_form="2 x LRN (first lrn1",
    ),
}  # fmt: skip


def seeded(name: str, path: Path) -> Path:
    """The network with random weights, as a file: initializers in place of what filled them in."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph, random = model.graph, np.random.default_rng(1)
    shapes = {item.name: numpy_helper.to_array(item).tolist() for item in graph.initializer}
    nodes = {output: node for node in graph.node for output in node.output}
    readers = {name: node for node in graph.node for name in node.input}
    last = {output for node in _ends_of_branches(graph, nodes) for output in node.output}
    for filled in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        weight = filled.output[0]
        reader = readers[weight]
        index = list(reader.input).index(weight)
        shape = shapes[filled.input[0]]
        if reader.op_type == "Gemm":
            shape = [NARROW if side == 4096 else side for side in shape]
        quiet = reader.output[0] in last
        values = _values(reader, index, shape, random, readers) * (0.25 if quiet else 1.0)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), weight))
        graph.node.remove(filled)
    onnx.save(model, path)
    return path


def _ends_of_branches(graph: onnx.GraphProto, nodes: dict[str, onnx.NodeProto]) -> Any:
    """The batch norms right before a sum: as trained, they keep residuals from growing."""
    for node in graph.node:
        if node.op_type == "Sum":
            yield from (nodes[i] for i in node.input if nodes[i].op_type == "BatchNormalization")


def _values(
    reader: onnx.NodeProto,
    index: int,
    shape: list[int],
    random: np.random.Generator,
    readers: dict[str, onnx.NodeProto],
) -> NDArray[Any]:
    if reader.op_type == "Conv" and index == 1:
        filters = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        # Without this what all pictures share grows from layer to layer, and nothing else is left.
        return np.asarray(filters - filters.mean(axis=(1, 2, 3), keepdims=True))
    if reader.op_type == "Reshape" or (reader.op_type == "Gemm" and index == 1):
        return random.normal(0, np.sqrt(1 / shape[-1]), shape)
    if reader.op_type == "BatchNormalization":
        return random.uniform(0.6, 1.4, shape) if index in (1, 4) else random.normal(0, 0.05, shape)
    if reader.op_type == "Unsqueeze" and readers[reader.output[0]].op_type == "Mul":
        return random.uniform(0.7, 1.3, shape)
    return random.normal(0, 0.02, shape)


def brought(name: str, root: Path) -> tuple[Path, Came]:
    """The canonical Graph's file, proved to be the network."""
    path = seeded(name, root / "seeded.onnx")
    original = load_foreign(path)
    graph = original.clone()
    came = bring_in(graph, VIEW, str(path))
    prove(original, came, VIEW, graph, 2, str(path))
    save_graph(graph, root / "graph.onnx")
    return root / "graph.onnx", came


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_through_the_chain(name: str, tmp_path: Path) -> None:
    expected = MODELS[name]
    path, came = brought(name, tmp_path)
    graph = load_graph(path)
    assert Counter(node.op_type for node in graph.graph) == expected.kinds
    assert (came.opset, came.batch, came.stripped) == (9, 1, expected.stripped)
    assert class_count(graph, name) == 1000
    crops = pictures(VIEW.size)
    reference = open_runner("onnx", path, None, 2)(crops)
    assert reference.std(axis=0).max() > 1e-2 * np.abs(reference).max(), "pictures do nothing"
    for options in (UINT8, INT8):
        graph = load_graph(path)
        tensors = placement_for(graph, options).observed
        seen = observe(graph, tensors, VIEW.normalization, [crops], 2)
        plan = make_plan(graph, "0" * 64, VIEW.normalization, seen, options, Ranges(rule="minmax"))
        lowered = None
        if expected.no_form is None:
            (tmp_path / "m.tflite").write_bytes(render_tflite(graph, plan, None))
            lowered = open_runner("tflite", tmp_path / "m.tflite", None, 2)(crops)
        else:
            with pytest.raises(NoFormError) as caught:
                render_tflite(graph, plan, None)
            assert f"no place in TFLite for {expected.no_form}" in str(caught.value)
        render_qdq(graph, plan)
        save_graph(graph, tmp_path / "qdq.onnx")
        write_cpu_bundle(tmp_path / "qdq.onnx", tmp_path / "m.synap")
        bundled = open_runner("synap", tmp_path / "m.synap", None, 2)(crops)
        assert sqnr_db(bundled, reference) > 14
        print(
            name,
            options.data_type,
            sqnr_db(bundled, reference),
            lowered is not None and (sqnr_db(lowered, bundled), sqnr_db(lowered, reference)),
            reference.std(axis=0).max() / np.abs(reference).max(),
            (tmp_path / "m.synap").stat().st_size,
            (lowered.argmax(1) == bundled.argmax(1)).sum() if lowered is not None else None,
            (bundled.argmax(1) == reference.argmax(1)).sum(),
        )
        if lowered is not None:
            assert sqnr_db(lowered, bundled) > 22


@pytest.mark.slow
def test_a_run_of_the_command_line(lab: Any, tiny: Path, tmp_path: Path) -> None:
    """As a user brings one: what has no TFLite form is said, and the bundle is made all the same."""
    seeded("inception_v1", tmp_path / "mine.onnx")
    (tmp_path / "mine.yaml").write_text(RECIPE.format(images=tiny / "images"))
    done = lab.pipeline_run(tmp_path / "mine.yaml", tmp_path / "artifacts", "--target", "sl1680")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "artifacts/mine/sl1680/report.json").read_text())
    checks = {stage["name"]: stage["check"] for stage in report["stages"]}
    assert checks["lower"]["verdict"] == "SKIPPED"
    assert "no place in TFLite for 2 x LRN (first lrn1" in checks["lower"]["reason"]
    assert checks["quantize"]["sqnr_db"] > 14
    assert checks["compile"]["evidence"] == "measured"
    # Without a toolkit, falling back to such a bundle needs no TFLite either.
    falling = "compile={delegate: npu, toolkit: native, if_toolkit_missing: cpu}"
    words = ("--target", "sl1680", "--set", falling)
    again = lab.pipeline_run(tmp_path / "mine.yaml", tmp_path / "artifacts", *words)
    assert again.code == 0, again.err
    assert again.json["compile"]["fallback"]


def test_a_network_of_2017(tmp_path: Path) -> None:
    """The smallest of them in the quick tests: import and proof alone."""
    path, came = brought("squeezenet", tmp_path)
    kinds = Counter(node.op_type for node in load_graph(path).graph)
    assert (kinds, came.stripped) == (MODELS["squeezenet"].kinds, "Softmax")
