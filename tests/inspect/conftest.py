"""One small classifier as every kind of file, written by the project's own writers."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.preprocess import Preprocess
from pipeline.graph.file import save_graph, set_preprocess
from pipeline.lower.render import render_tflite
from pipeline.quant.plan import BiasPlan, Plan, TensorPlan
from pipeline.quant.qdq import render_qdq
from pipeline.synap.bundle import Meta, Quantize, Subgraph, Tensor
from pipeline.synap.bundle_write import write_bundle
from pipeline.synap.cpu_bundle import write_cpu_bundle
from pipeline.synap.metafile import Quantization, classifier_metafile
from pipeline.synap.metafile_check import dump_metafile

SIZE = 8
CLASSES = ("cat", "dog", "tree", "house")
VIEW = Preprocess(size=SIZE, mean=(127 / 255,) * 3, std=(0.5,) * 3)
STEP = 2**-7


def float_graph() -> ir.Model:
    """A convolution, a pool and a linear layer with seeded weights."""
    random = np.random.default_rng(3)
    weights = {
        "w1": random.normal(0, 0.4, (6, 3, 3, 3)).astype(np.float32),
        "b1": random.normal(0, 0.4, 6).astype(np.float32),
        "w2": random.normal(0, 0.4, (len(CLASSES), 6)).astype(np.float32),
        "b2": random.normal(0, 0.4, len(CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], "c1", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"], "r1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["g1"], "g1"),
        helper.make_node("Flatten", ["g1"], ["f1"], "f1"),
        helper.make_node("Gemm", ["f1", "w2", "b2"], ["logits"], "logits", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="pipeline"
    )
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    set_preprocess(model, VIEW)
    return model


def tensor_plan(
    data_type: Any, scale: tuple[float, ...], zero: int, axis: Any = None
) -> TensorPlan:
    zeros = (zero,) * len(scale)
    return TensorPlan(data_type=data_type, scale=scale, zero_point=zeros, axis=axis, source="test")


def plan_of(data_type: Any, scheme: Any) -> Plan:
    """Scales whose float32 values are exact, so that files can be held to them."""
    low = {"uint8": 0, "int8": -128, "int16": 0}[data_type]
    middle = low + 128 if scheme == "asymmetric_affine" else low + 127
    if scheme == "dynamic_fixed_point":
        low = middle = 0
    several = scheme == "perchannel_symmetric_affine"
    zero = low + 125 if data_type == "uint8" else 0
    zero = 0 if scheme == "dynamic_fixed_point" else zero
    step = 0.25 if scheme == "dynamic_fixed_point" else 0.375
    first = tuple(2**-7 * (1 + n) for n in range(6)) if several else (2**-6,)
    last = tuple(2**-7 * (1 + n) for n in range(len(CLASSES))) if several else (2**-6,)
    image = tensor_plan(data_type, (STEP,), middle)
    inner = tensor_plan(data_type, (2**-5,), low)
    return Plan(
        graph_sha256="0" * 64,
        data_type=data_type,
        scheme=scheme,
        input="input",
        normalization=VIEW.normalization,
        activations={
            "input": image, "r1": inner, "g1": inner, "f1": inner,
            "logits": tensor_plan(data_type, (step,), middle),
        },
        weights={
            "w1": tensor_plan(data_type, first, zero, 0 if several else None),
            "w2": tensor_plan(data_type, last, zero, 0 if several else None),
        },
        biases={
            "c1": BiasPlan(scale=tuple(STEP * scale for scale in first)),
            "logits": BiasPlan(scale=tuple(2**-5 * scale for scale in last)),
        },
    )  # fmt: skip


def qdq_of(plan: Plan, path: Path) -> Path:
    model = float_graph()
    render_qdq(model, plan)
    save_graph(model, path)
    return path


def npu_model(hardware: int = 0xC1, counts: tuple[int, int, int] = (1, 1, 1)) -> bytes:
    """A container of the documented form around code that is none."""
    metadata = struct.pack("<I64s6I", hardware, b"net", 7, 8, 9, *counts)
    metadata += b"\0" * 20 * sum(counts)
    header = struct.pack("<4s8I", b"EBGX", 0, 1, 0, 0, len(metadata), 0, 0, 4)
    return header + metadata + b"code"


def npu_meta(*, quantized: bool = True, **more: Any) -> Meta:
    """As the toolkit describes the inputs and outputs of an NPU model."""
    dtype: Any = "uint8" if quantized else "float16"
    grid = Quantize(qtype="u8", scale=STEP, zero_point=127) if quantized else None
    kind: Any = "asymmetric_affine" if quantized else "none"
    both = {"dtype": dtype, "quantizer": kind, "quantize": grid, **more}
    image = Tensor(
        shape=(1, SIZE, SIZE, 3), format="nhwc", name="input", data_format="rgb",
        mean=(127.5,) * 3, scale=127.5, **both,
    )  # fmt: skip
    scores = Tensor(shape=(1, len(CLASSES)), name="logits", **both)
    return Meta(inputs={"input": image}, outputs={"logits": scores}, delegate="npu")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The classifier as every kind of file, by its name (`qdq_onnx` is `qdq.onnx`). Read only."""
    root = tmp_path_factory.mktemp("files")
    plan = plan_of("uint8", "asymmetric_affine")
    channels = plan_of("int8", "perchannel_symmetric_affine")
    save_graph(float_graph(), root / "float.onnx")
    qdq_of(plan, root / "qdq.onnx")
    qdq_of(channels, root / "channels.onnx")
    qdq_of(plan_of("int16", "dynamic_fixed_point"), root / "fixed.onnx")
    (root / "model.tflite").write_bytes(render_tflite(float_graph(), plan, CLASSES))
    (root / "channels.tflite").write_bytes(render_tflite(float_graph(), channels, None))
    write_cpu_bundle(root / "qdq.onnx", root / "cpu.synap")
    write_bundle(root / "npu.synap", [Subgraph(npu_model(), npu_meta())])
    text = dump_metafile(
        classifier_metafile(
            means=(127.5,) * 3, scale=127.5, input_name="input", input_shape=(1, 3, SIZE, SIZE),
            quantization=Quantization(
                data_type="uint8", scheme="asymmetric_affine", dataset=("calibration/*.png",)
            ),
        )
    )  # fmt: skip
    (root / "meta.yaml").write_text(text)
    return SimpleNamespace(**{path.name.replace(".", "_"): path for path in root.iterdir()})


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """`put(source_or_bytes, name)`: a file of the test's own."""

    def write(content: Path | bytes | str, name: str) -> Path:
        path = tmp_path / name
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(scope="session")
def lab() -> Any:
    """The functions of this file, because test files cannot import one another."""
    functions = (float_graph, plan_of, qdq_of, npu_model, npu_meta)
    made = {function.__name__: function for function in functions}
    return SimpleNamespace(**made, SIZE=SIZE, CLASSES=CLASSES, VIEW=VIEW, STEP=STEP)


@pytest.fixture
def onnx_bytes() -> Callable[..., bytes]:
    """`onnx_bytes(edit)`: the float model's file after `edit` has changed its proto."""

    def make(edit: Callable[[Any], None]) -> bytes:
        proto = ir.to_proto(float_graph())
        edit(proto)
        return proto.SerializeToString()

    return make


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of real models; tests that want it skip where there is none."""
    folder = os.environ.get("PIPELINE_SAMPLE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PIPELINE_SAMPLE_DATA names no folder with the MobileNet V2 sample")
    return Path(folder)
