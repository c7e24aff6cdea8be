"""Models of every kind, small, and a person who answers."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")


def classifier(
    path: Path,
    *,
    classes: int = 10,
    size: Any = 32,
    softmax: bool = False,
    normalize: tuple[float, float] | None = None,
    metadata: dict[str, str] | None = None,
    depthwise: bool = False,
    gate: bool = False,
) -> Path:
    """A float ONNX file: a convolution, a mean and a linear layer with seeded weights. `normalize`
    are a mean and a deviation that the model applies itself, `gate` is a Mul."""
    random = np.random.default_rng(0)
    nodes, constants = [], {
        "w": random.normal(0, 0.5, (8, 3, 3, 3)),
        "d": random.normal(0, 0.5, (8, 1, 3, 3)),
        "f": random.normal(0, 0.5, (classes, 8)),
        "b": random.normal(0, 0.5, classes),
    }  # fmt: skip
    x = "image"
    if normalize is not None:
        constants |= {"mean": np.full((1, 3, 1, 1), normalize[0])}
        constants |= {"std": np.full((1, 3, 1, 1), normalize[1])}
        nodes += [
            helper.make_node("Sub", [x, "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["scaled"]),
        ]
        x = "scaled"
    nodes.append(helper.make_node("Conv", [x, "w"], ["c"], name="stem", pads=[1] * 4))
    nodes.append(helper.make_node("Relu", ["c"], ["r"], name="relu"))
    x = "r"
    if depthwise:
        nodes.append(helper.make_node("Conv", [x, "d"], ["dw"], name="dw", group=8, pads=[1] * 4))
        x = "dw"
    if gate:
        nodes.append(helper.make_node("Sigmoid", [x], ["s"], name="sigmoid"))
        nodes.append(helper.make_node("Mul", [x, "s"], ["m"], name="gate"))
        x = "m"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["g"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["g"], ["flat"], name="flat"))
    nodes.append(helper.make_node("Gemm", ["flat", "f", "b"], ["y"], name="head", transB=1))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"], name="softmax", axis=1))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("p" if softmax else "y", TensorProto.FLOAT, ["N", classes])],
        [
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in constants.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def quantized(float_file: Path, path: Path, size: int = 32) -> Path:
    """The QDQ form that ONNX Runtime gives a file."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            random = np.random.default_rng(1)
            self.rows = [random.normal(0, 1, (1, 3, size, size)).astype(np.float32)] * 2

        def get_next(self) -> Any:
            return {"image": self.rows.pop()} if self.rows else None

    quantize_static(str(float_file), str(path), Reader(), quant_format=QuantFormat.QDQ)
    return path


def float_tflite(path: Path, classes: int = 10, size: int = 32) -> Path:
    """A float TFLite file: a convolution, a mean, a gate and a linear layer with seeded weights."""
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.lower.model_file import ModelFile

    random, file = np.random.default_rng(0), ModelFile()

    def constant(name: str, *shape: int) -> Any:
        return file.constant(name, random.normal(0, 0.5, shape).astype(np.float32))

    image = file.tensor("image", (1, size, size, 3), "float32", None)
    half = file.tensor("half", (1, size // 2, size // 2, 8), "float32", None)
    file.operator(
        "CONV_2D", 1, [image, constant("w", 8, 3, 3, 3), constant("b", 8)], half,
        schema.Conv2DOptionsT(padding=schema.Padding.SAME, strideH=2, strideW=2),
    )  # fmt: skip
    gate = file.tensor("gate", half.shape, "float32", None)
    file.operator("LOGISTIC", 1, [half], gate)
    gated = file.tensor("gated", half.shape, "float32", None)
    file.operator("MUL", 1, [half, gate], gated, schema.MulOptionsT())
    row = file.tensor("row", (1, 8), "float32", None)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 1, [gated, axes], row, schema.ReducerOptionsT(keepDims=False))
    scores = file.tensor("scores", (1, classes), "float32", None)
    file.operator(
        "FULLY_CONNECTED", 1, [row, constant("f", classes, 8), constant("fb", classes)], scores,
        schema.FullyConnectedOptionsT(),
    )  # fmt: skip
    path.write_bytes(file.to_bytes([image], [scores], "float", {}))
    return path


def integer_tflite(
    path: Path,
    size: tuple[int, int] = (8, 8),
    dtype: str = "uint8",
    *,
    grid: tuple[float, int] = (1 / 255, 0),
    means: tuple[float, float] | None = None,
) -> Path:
    """A quantized TFLite file that takes the means of the colours; its input has this scale and zero
    point, by default those of the bytes / 255. `means` are mean and deviation in its metadata."""
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.lower.metadata import ENTRY, Facts, encode_metadata
    from pipeline.lower.model_file import ModelFile, Quantization

    file, numbers = ModelFile(), Quantization(grid[:1], grid[1:])
    given = file.tensor("image", (1, *size, 3), dtype, numbers)
    made = file.tensor("scores", (1, 3), dtype, numbers)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 2, [given, axes], made, schema.ReducerOptionsT())
    metadata = {}
    if means is not None:
        facts = Facts("image", "scores", size[0], size[1], means[:1], means[1:], None)
        metadata[ENTRY] = encode_metadata(facts)
    path.write_bytes(file.to_bytes([given], [made], "", metadata))
    return path


def mindcv_checkpoint(path: Path, classes: int) -> Path:
    """MindCV's `inception_v4` with random values, as MindSpore writes it."""
    layers = Path(__file__).parents[1] / "sources" / "mindcv_inception_v4.txt"
    random = np.random.default_rng(0)
    with path.open("wb") as stream:
        for line in layers.read_text().splitlines():
            layer, form = line.split()
            dims = [int(side) for side in form.split("x")]
            if layer == "classifier":
                shapes = {f"{layer}.weight": [classes, dims[1]], f"{layer}.bias": [classes]}
            else:
                parts = ("gamma", "beta", "moving_mean", "moving_variance")
                shapes = {f"{layer}.bn.{part}": dims[:1] for part in parts}
                shapes[f"{layer}.conv.weight"] = dims
            for name, shape in shapes.items():
                values = random.random(shape, np.float32).tobytes()
                tensor = b"".join(b"\x08" + _varint(side) for side in shape)
                tensor += _block(2, b"Float32") + _block(3, values)
                stream.write(_block(1, _block(1, name.encode()) + _block(2, tensor)))
    return path


def _block(key: int, content: bytes) -> bytes:
    return bytes([key << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


class Person:
    """Answers by the first word of the question that fits, else takes the default."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, question: str, default: str, parse: Callable[[str], T]) -> T:
        self.asked.append(question)
        words = question.lower().split()
        return parse(next((self.answers[w] for w in words if w in self.answers), default))


@pytest.fixture(scope="session")
def models() -> Any:
    """What is in this file, because test files cannot import one another."""
    made = (classifier, quantized, float_tflite, integer_tflite, mindcv_checkpoint, Person)
    return SimpleNamespace(**{thing.__name__: thing for thing in made})
