"""Small float TFLite files, written with the schema's classes, and both their forms run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.graph.canonical import canonicalize, check_canonical
from pipeline.lift.operators import lift_tflite
from pipeline.lower.model_file import ModelFile, Tensor
from pipeline.runners.onnx import make_session

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
ACTIVATION = schema.ActivationFunctionType


class Net:
    """A file that is being built: activations are made of one another, all float32."""

    def __init__(self, size: Sequence[int] = (9, 7), seed: int = 0) -> None:
        self.file = ModelFile()
        self.random = np.random.default_rng(seed)
        self.input = self.file.tensor("image", (1, *size, 3), "float32", None)
        self.count = 0

    def constant(self, values: Any, dtype: Any = np.float32) -> Tensor:
        self.count += 1
        return self.file.constant(f"constant{self.count}", np.asarray(values, dtype))

    def weights(self, *shape: int) -> Tensor:
        return self.constant(self.random.normal(0, 0.5, shape))

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        options: Any = None,
        *,
        version: int = 1,
        dtype: str = "float32",
    ) -> Tensor:
        self.count += 1
        made = self.file.tensor(f"{kind.lower()}{self.count}", shape, dtype, None)
        self.file.operator(kind, version, inputs, made, options)
        return made

    def parts(
        self, kind: str, inputs: Sequence[Tensor], shapes: Sequence[Sequence[int]], options: Any
    ) -> list[Tensor]:
        """An operator of several results."""
        self.count += 1
        made = [
            self.file.tensor(f"{kind.lower()}{self.count}_{part}", shape, "float32", None)
            for part, shape in enumerate(shapes)
        ]
        self.file.operator(kind, 1, inputs, made, options)
        return made

    def conv(
        self, source: Tensor, channels: int, kernel: tuple[int, int] = (3, 3), stride: int = 1,
        padding: int = SAME, activation: int = 0, dilation: int = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        filters = self.weights(channels, *kernel, source.shape[3] // groups)
        options = schema.Conv2DOptionsT(
            padding=padding, strideH=stride, strideW=stride, fusedActivationFunction=activation,
            dilationHFactor=dilation, dilationWFactor=dilation,
        )  # fmt: skip
        shape = (1, *windows(source, kernel, stride, padding, dilation), channels)
        return self.op("CONV_2D", [source, filters, self.weights(channels)], shape, options)

    def depthwise(
        self, source: Tensor, multiplier: int = 1, stride: int = 1, padding: int = SAME,
        activation: int = 0, dilation: int = 1,
    ) -> Tensor:  # fmt: skip
        channels = source.shape[3] * multiplier
        options = schema.DepthwiseConv2DOptionsT(
            padding=padding, strideH=stride, strideW=stride, depthMultiplier=multiplier,
            fusedActivationFunction=activation, dilationHFactor=dilation, dilationWFactor=dilation,
        )  # fmt: skip
        shape = (1, *windows(source, (3, 3), stride, padding, dilation), channels)
        inputs = [source, self.weights(1, 3, 3, channels), self.weights(channels)]
        return self.op(
            "DEPTHWISE_CONV_2D", inputs, shape, options, version=2 if dilation > 1 else 1
        )

    def pool(
        self, kind: str, source: Tensor, kernel: tuple[int, int], stride: int, padding: int,
        activation: int = 0,
    ) -> Tensor:  # fmt: skip
        options = schema.Pool2DOptionsT(
            padding=padding, strideH=stride, strideW=stride, filterHeight=kernel[0],
            filterWidth=kernel[1], fusedActivationFunction=activation,
        )  # fmt: skip
        shape = (1, *windows(source, kernel, stride, padding), source.shape[3])
        return self.op(f"{kind}_POOL_2D", [source], shape, options)

    def mean(self, source: Tensor, keep: bool = False) -> Tensor:
        shape = (1, 1, 1, source.shape[3]) if keep else (1, source.shape[3])
        axes = self.constant([1, 2], np.int32)
        return self.op("MEAN", [source, axes], shape, schema.ReducerOptionsT(keepDims=keep))

    def reshape(self, source: Tensor, shape: Sequence[int]) -> Tensor:
        options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        return self.op("RESHAPE", [source, self.constant(shape, np.int32)], shape, options)

    def dense(self, source: Tensor, classes: int, activation: int = 0) -> Tensor:
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=activation)
        features = int(np.prod(source.shape[1:]))
        inputs = [source, self.weights(classes, features), self.weights(classes)]
        return self.op("FULLY_CONNECTED", inputs, (1, classes), options)

    def flat(self, source: Tensor) -> Tensor:
        """All values as scores, so that what came before shows as it is."""
        return self.reshape(source, (1, int(np.prod(source.shape[1:]))))

    def to_bytes(self, *outputs: Tensor) -> bytes:
        return self.file.to_bytes([self.input], outputs, "test", {})


def windows(
    source: Tensor, kernel: Sequence[int], stride: int, padding: int, dilation: int = 1
) -> tuple[int, ...]:
    """How many windows there are, as TFLite counts them."""
    extents = [(side - 1) * dilation + 1 for side in kernel]
    return tuple(
        -(-(side if padding == SAME else side - extent + 1) // stride)
        for side, extent in zip(source.shape[1:3], extents, strict=True)
    )


def run_litert(content: bytes, images: NDArray[Any]) -> NDArray[Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    rows = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(rows)


def lifted(content: bytes) -> ir.Model:
    """The Graph of a file, which keeps the rules of all Graphs; a last SOFTMAX stays in it."""
    model = lift_tflite(content, "net.tflite")
    canonicalize(model)
    check_canonical(model)
    return model


def same_function(content: bytes, size: Sequence[int] = (9, 7)) -> ir.Model:
    """The Graph, after it has given what LiteRT gives for three pictures at once."""
    model = lifted(content)
    images = np.random.default_rng(9).normal(0, 2, (3, *size, 3)).astype(np.float32)
    expected = run_litert(content, images)
    session = make_session(ir.to_proto(model).SerializeToString(), 1)
    found = session.run(None, {"input": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})[0]
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0.01, "a function that is nearly zero shows nothing"
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
    return model


def edited(content: bytes, edit: Callable[[Any], None]) -> bytes:
    """The file after `edit` has changed the schema's object of its model."""
    import flatbuffers

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    edit(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def mobile_net(path: Path | None = None, size: int = 32, classes: int = 10) -> bytes:
    """The operators of MobileNet V3 in small: strides over even sizes, squeeze and excite, a sum."""
    net = Net((size, size), seed=4)
    x = net.conv(net.input, 8, stride=2)
    x = net.op("HARD_SWISH", [x], x.shape)
    y = net.conv(net.depthwise(x, activation=ACTIVATION.RELU6), 8, (1, 1))
    gate = net.conv(net.mean(y, keep=True), 8, (1, 1), activation=ACTIVATION.RELU)
    gate = net.op("LOGISTIC", [gate], gate.shape)
    y = net.op("MUL", [y, gate], y.shape, schema.MulOptionsT())
    x = net.op("ADD", [x, y], x.shape, schema.AddOptionsT())
    x = net.depthwise(x, stride=2)
    scores = net.dense(net.flat(net.pool("AVERAGE", x, (4, 4), 4, VALID)), classes)
    content = net.to_bytes(scores)
    if path is not None:
        path.write_bytes(content)
    return content


@pytest.fixture(scope="session")
def nets() -> Any:
    """What is in this file, because test files cannot import one another."""
    made = (Net, run_litert, lifted, same_function, edited, mobile_net)
    return SimpleNamespace(**{thing.__name__: thing for thing in made})
