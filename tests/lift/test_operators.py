"""Every operator gives what LiteRT gives, in the Graph's own layout; what has no place is named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.lift.operators import OPERATORS, lift_tflite

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
ACTIVATION = schema.ActivationFunctionType


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph]


def binary(net: Any, kind: str, first: Any, second: Any, **options: Any) -> Any:
    made = getattr(schema, f"{kind.capitalize()}OptionsT")(**options)
    return net.op(kind, [first, second], first.shape, made)


def concatenated(net: Any) -> Any:
    left = net.conv(net.input, 4)
    right = net.conv(net.input, 2)
    shape = (*left.shape[:3], 6)
    wide = net.op("CONCATENATION", [left, right], shape, schema.ConcatenationOptionsT(axis=3))
    rows = (1, 2 * shape[1], *shape[2:])
    return net.op("CONCATENATION", [wide, wide], rows, schema.ConcatenationOptionsT(axis=-3))


def squeezed(net: Any) -> Any:
    scores = net.conv(net.mean(net.conv(net.input, 4), keep=True), 5, (1, 1))
    options = schema.SqueezeOptionsT(squeezeDims=np.array([1, 2], np.int32))
    return net.op("SQUEEZE", [scores], (1, 5), options)


def excited(net: Any) -> Any:
    """Squeeze and excite by way of a row of features."""
    x = net.conv(net.input, 4)
    gate = net.reshape(net.dense(net.mean(x), 4), (1, 1, 1, 4))
    return binary(net, "MUL", x, net.op("LOGISTIC", [gate], gate.shape))


def shuffled(net: Any) -> Any:
    """Channels in groups, taken apart and put together again, with five dimensions in between."""
    x = net.conv(net.input, 6)
    return net.reshape(net.reshape(x, (1, *x.shape[1:3], 2, 3)), (1, 21, 3, 6))


def transposed(net: Any, source: Any, order: Any) -> Any:
    shape = [source.shape[place] for place in order]
    inputs = [source, net.constant(order, np.int32)]
    return net.op("TRANSPOSE", inputs, shape, schema.TransposeOptionsT())


def channel_shuffled(net: Any) -> Any:
    """As ShuffleNet has it in Keras."""
    x = net.conv(net.input, 6)
    apart = net.reshape(x, (1, *x.shape[1:3], 2, 3))
    return net.reshape(transposed(net, apart, (0, 1, 2, 4, 3)), x.shape)


def padded(net: Any, kind: str, fill: float | None = None) -> Any:
    pads = net.constant([[0, 0], [1, 2], [3, 0], [0, 1]], np.int32)
    inputs = [net.conv(net.input, 4), pads]
    inputs += [] if fill is None else [net.constant([fill])]
    options = schema.PadOptionsT() if fill is None else schema.PadV2OptionsT()
    return net.op(kind, inputs, (1, 12, 10, 5), options)


def leaked(net: Any) -> Any:
    """LeakyReLU, as Keras' converter writes it."""
    x = net.conv(net.input, 4)
    return net.op("LEAKY_RELU", [x], x.shape, schema.LeakyReluOptionsT(alpha=0.3))


def halved(net: Any) -> Any:
    """A stage of a cross-stage-partial network: one half is worked on, the other waits."""
    x = net.conv(net.input, 6)
    halves = [(*x.shape[:3], 3)] * 2
    inputs = [net.constant(-1, np.int32), x]
    left, right = net.parts("SPLIT", inputs, halves, schema.SplitOptionsT(numSplits=2))
    options = schema.ConcatenationOptionsT(axis=3)
    return net.op("CONCATENATION", [net.conv(right, 3), left], x.shape, options)


def split_unequally(net: Any, sizes: Any = (2, 3, -1), axis: int = 2) -> Any:
    """Columns, of which the middle ones are not read."""
    x = net.conv(net.input, 4)
    shapes = [(*x.shape[:2], side, 4) for side in (2, 3, 2)]
    inputs = [x, net.constant(sizes, np.int32), net.constant(axis, np.int32)]
    left, _, right = net.parts("SPLIT_V", inputs, shapes, schema.SplitVOptionsT(numSplits=3))
    return binary(net, "SUB", left, right)


def sliced(net: Any, begin: Any, size: Any) -> Any:
    x = net.conv(net.input, 4)
    bounds = [net.constant(row, np.int32) for row in (begin, size)]
    ends = zip(begin, size, x.shape, strict=True)
    shape = [side - start if count == -1 else count for start, count, side in ends]
    return net.op("SLICE", [x, *bounds], shape, schema.SliceOptionsT())


def strided(net: Any, shape: Any, bounds: Any, **masks: Any) -> Any:
    """`bounds` are begins, ends and steps; -2 is the last but one."""
    inputs = [net.conv(net.input, 4), *(net.constant(row, np.int32) for row in bounds)]
    return net.op("STRIDED_SLICE", inputs, shape, schema.StridedSliceOptionsT(**masks))


def softened(net: Any, beta: float) -> Any:
    x = net.conv(net.input, 4)
    return net.op("SOFTMAX", [x], x.shape, schema.SoftmaxOptionsT(beta=beta))


CASES: dict[str, Callable[[Any], Any]] = {
    "conv": lambda net: net.conv(net.input, 4),
    "conv by a stride": lambda net: net.conv(net.input, 4, stride=2),
    "conv valid": lambda net: net.conv(net.input, 4, (3, 2), 2, VALID, ACTIVATION.RELU),
    "conv dilated": lambda net: net.conv(net.input, 4, dilation=2, activation=ACTIVATION.RELU6),
    "conv of even size": lambda net: net.conv(net.input, 4, (2, 4), 1),
    "conv that steps over": lambda net: net.conv(net.input, 4, (1, 1), 3),
    "conv in groups": lambda net: net.conv(net.conv(net.input, 6), 4, groups=2),
    "depthwise": lambda net: net.depthwise(net.conv(net.input, 4), stride=2),
    "depthwise of two each": lambda net: net.depthwise(net.conv(net.input, 4), 2),
    "depthwise dilated": lambda net: net.depthwise(net.conv(net.input, 4), dilation=2),
    "average pool": lambda net: net.pool("AVERAGE", net.conv(net.input, 4), (3, 2), 2, SAME),
    "average pool valid": lambda net: net.pool("AVERAGE", net.conv(net.input, 4), (3, 3), 1, VALID),
    "max pool": lambda net: net.pool("MAX", net.conv(net.input, 4), (2, 3), 2, SAME),
    "max pool fused": lambda net: net.pool("MAX", net.input, (3, 3), 2, VALID, ACTIVATION.RELU),
    "mean": lambda net: net.mean(net.conv(net.input, 4)),
    "mean kept": lambda net: net.mean(net.conv(net.input, 4), keep=True),
    "add": lambda net: binary(net, "ADD", net.conv(net.input, 4), net.conv(net.input, 4)),
    "add fused": lambda net: binary(
        net, "ADD", net.input, net.conv(net.input, 3),
        fusedActivationFunction=ACTIVATION.RELU_N1_TO_1,
    ),
    "sub constant": lambda net: binary(net, "SUB", net.conv(net.input, 4), net.weights(4)),
    "mul constant": lambda net: binary(net, "MUL", net.conv(net.input, 4), net.weights(9, 1, 4)),
    "mul scalar": lambda net: binary(net, "MUL", net.conv(net.input, 4), net.constant(0.3)),
    "concatenation": concatenated,
    "squeeze": squeezed,
    "squeeze and excite": excited,
    "channels in groups": shuffled,
    "channel shuffle": channel_shuffled,
    "transpose": lambda net: transposed(net, net.conv(net.input, 4), (0, 3, 1, 2)),
    "pad": lambda net: padded(net, "PAD"),
    "pad by a number": lambda net: padded(net, "PADV2", -1.5),
    "leaky": leaked,
    "halves": halved,
    "unequal parts": split_unequally,
    "slice": lambda net: sliced(net, (0, 1, 2, 0), (1, 3, -1, 2)),
    "slice of all": lambda net: sliced(net, (0, 0, 0, 0), (-1, -1, -1, -1)),
    "cropped": lambda net: strided(
        net, (1, 7, 4, 4), [(0, 1, 1, 0), (0, -1, -2, 0), (1, 1, 1, 1)], beginMask=9, endMask=9,
    ),
    "every second": lambda net: strided(
        net, (1, 4, 7, 4), [(0, 1), (1, 9), (1, 2)],
    ),
    "softmax of a map": lambda net: softened(net, 1.0),
    "dense": lambda net: net.dense(net.dense(net.mean(net.input), 4, ACTIVATION.RELU), 5),
    "dense of a map": lambda net: net.dense(net.conv(net.input, 4), 5),
    **{
        kind.lower(): lambda net, kind=kind: net.op(kind, [net.conv(net.input, 4)], (1, 9, 7, 4))
        for kind in ("RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "HARD_SWISH")
    },
}  # fmt: skip


@pytest.mark.parametrize("build", CASES.values(), ids=CASES)
def test_the_same_function(nets: Any, build: Callable[[Any], Any]) -> None:
    net = nets.Net()
    made = build(net)
    nets.same_function(net.to_bytes(made if len(made.shape) == 2 else net.flat(made)))


def test_the_cases_are_all_operators(nets: Any) -> None:
    seen = set()
    for build in CASES.values():
        net = nets.Net()
        seen.update(net.file.kinds([build(net)]))
    assert seen == set(OPERATORS)


@given(
    size=st.tuples(st.integers(4, 11), st.integers(4, 11)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 4),
    kind=st.sampled_from(["CONV", "AVERAGE", "MAX"]),
)
@settings(deadline=None, max_examples=40)
def test_padding_is_exact(nets: Any, size: Any, kernel: Any, stride: int, kind: str) -> None:
    net = nets.Net(size)
    if kind == "CONV":
        made = net.conv(net.input, 2, kernel, stride)
    else:
        made = net.pool(kind, net.input, kernel, stride, SAME)
    nets.same_function(net.to_bytes(net.flat(made)), size)


@given(
    data=st.data(), masked=st.integers(0, 15), size=st.tuples(st.integers(1, 6), st.integers(1, 6))
)
@settings(deadline=None, max_examples=30)
def test_every_slice(nets: Any, data: st.DataObject, masked: int, size: Any) -> None:
    """Bounds from either end and beyond, as Python counts them."""
    net = nets.Net(size)
    x = net.conv(net.input, 4)
    bounds, shape = [[0], [1], [1]], [1]
    for axis, side in enumerate(x.shape[1:], 1):
        begin, end = (data.draw(st.integers(-side - 2, side + 2)) for _ in range(2))
        step = data.draw(st.integers(1, 3))
        begin, end = (None if masked >> axis & 1 else bound for bound in (begin, end))
        shape.append(len(range(*slice(begin, end, step).indices(side))))
        assume(shape[axis])
        for column, bound in zip(bounds, (begin, end, step), strict=True):
            column.append(bound or 0)
    inputs = [x, *(net.constant(column, np.int32) for column in bounds)]
    options = schema.StridedSliceOptionsT(beginMask=masked, endMask=masked)
    made = net.op("STRIDED_SLICE", inputs, shape, options)
    nets.same_function(net.to_bytes(net.flat(made)), size)


def test_same_padding_of_an_even_size_is_behind_only(nets: Any) -> None:
    net = nets.Net((8, 8))
    model = nets.lifted(net.to_bytes(net.flat(net.conv(net.input, 2, stride=2))))
    assert list(model.graph[0].attributes["pads"].as_ints()) == [0, 0, 1, 1]


def test_a_small_mobile_net(nets: Any) -> None:
    model = nets.same_function(nets.mobile_net(), (32, 32))
    assert "Transpose" not in kinds(model)
    assert kinds(model)[-2:] == ["Flatten", "Gemm"]


def test_a_row_that_others_read_too_keeps_the_files_order(nets: Any) -> None:
    net = nets.Net()
    row = net.flat(net.conv(net.input, 4))
    soft = net.op("SOFTMAX", [row], row.shape, schema.SoftmaxOptionsT(beta=1.0))
    model = nets.same_function(net.to_bytes(net.dense(binary(net, "ADD", row, soft), 3)))
    assert "Transpose" in kinds(model)


def test_zeros_around_a_picture_become_the_convolutions_own(nets: Any) -> None:
    net = nets.Net((8, 8))
    pads = net.constant([[0, 0], [0, 1], [1, 1], [0, 0]], np.int32)
    wide = net.op("PAD", [net.input, pads], (1, 9, 10, 3), schema.PadOptionsT())
    model = nets.same_function(
        net.to_bytes(net.flat(net.conv(wide, 2, stride=2, padding=VALID))), (8, 8)
    )
    assert "Pad" not in kinds(model)
    assert list(model.graph[0].attributes["pads"].as_ints()) == [0, 1, 1, 1]


def test_float16_weights(nets: Any) -> None:
    net = nets.Net()
    halves = [
        net.constant(net.random.normal(0, 0.5, shape), np.float16) for shape in ((4, 3, 3, 3), (4,))
    ]
    wide = [
        net.op("DEQUANTIZE", [half], half.shape, schema.DequantizeOptionsT(), version=3)
        for half in halves
    ]
    options = schema.Conv2DOptionsT(padding=SAME, strideH=1, strideW=1)
    made = net.op("CONV_2D", [net.input, *wide], (1, 9, 7, 4), options)
    model = nets.same_function(net.to_bytes(net.flat(made)))
    assert {v.dtype.name for v in model.graph.initializers.values()} <= {"FLOAT", "INT64"}


def test_a_shape_that_is_computed(nets: Any) -> None:
    """What Keras writes for Flatten: the shape's first number, and the rest by a constant."""
    net = nets.Net()
    source = net.conv(net.input, 4)
    shape = net.op("SHAPE", [source], (4,), schema.ShapeOptionsT(outType=2), dtype="int32")
    bounds = [net.constant([n], np.int32) for n in (0, 1, 1)]
    first = net.op(
        "STRIDED_SLICE", [shape, *bounds], (), schema.StridedSliceOptionsT(shrinkAxisMask=1),
        dtype="int32",
    )  # fmt: skip
    packed = net.op(
        "PACK", [first, net.constant(252, np.int32)], (2,), schema.PackOptionsT(valuesCount=2, axis=0),
        dtype="int32",
    )  # fmt: skip
    row = net.op("RESHAPE", [source, packed], (1, 252), schema.ReshapeOptionsT())
    nets.same_function(net.to_bytes(net.dense(row, 3)))


# Refusals


def unknown(net: Any) -> Any:
    x = net.conv(net.input, 4)
    for _ in range(2):
        x = net.op("FLOOR", [x], x.shape)
    return net.flat(net.op("ELU", [x], x.shape))


def two_outputs(net: Any) -> Any:
    return net.mean(net.input), net.mean(net.conv(net.input, 4))


def hybrid(net: Any) -> Any:
    options = schema.Conv2DOptionsT(padding=SAME, strideH=1, strideW=1)
    filters = net.constant(np.ones((4, 3, 3, 3)), np.int8)
    return net.mean(net.op("CONV_2D", [net.input, filters], (1, 9, 7, 4), options))


def infinite(net: Any) -> Any:
    return binary(net, "MUL", net.mean(net.input), net.constant([1.0, np.inf, np.nan]))


def wrong_options(net: Any) -> Any:
    filters = net.weights(4, 3, 3, 3)
    return net.flat(net.op("CONV_2D", [net.input, filters], (1, 9, 7, 4), schema.AddOptionsT()))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown": (unknown, r"FLOOR, makes 'floor4'\); .*FLOOR, .*; operator 3 \(ELU, makes 'elu6'"),
    "two outputs": (two_outputs, "has 1 inputs and 2 outputs"),
    "a map of scores": (lambda net: net.conv(net.input, 4), "a row of scores"),
    "integers as weights": (hybrid, r"operator 0 \(CONV_2D.*constant1' is int8"),
    "not finite": (infinite, "values that are not finite"),
    "no options": (wrong_options, "has no Conv2DOptions"),
    "a mean over channels": (
        lambda net: net.flat(net.op("MEAN", [net.input, net.constant([3], np.int32)], (1, 9, 7),
                                    schema.ReducerOptionsT())),
        r"averages over \[3\], not over the pixels",
    ),
    "a mix of images": (
        lambda net: net.reshape(net.reshape(net.input, (189, 1)), (1, 189)), "stay with their images",
    ),
    "along the batch": (
        lambda net: net.reshape(net.op("CONCATENATION", [net.input, net.input], (2, 9, 7, 3),
                                       schema.ConcatenationOptionsT(axis=0)), (1, 378)),
        "joins along dimension 0 of 4",
    ),
    "fewer dimensions": (
        lambda net: net.flat(binary(net, "ADD", net.input, net.mean(net.input))),
        "has 2 dimensions, its result 4",
    ),
    "no real window": (
        lambda net: net.flat(net.op("MAX_POOL_2D", [net.input], (1, 9, 7, 3),
                                    schema.Pool2DOptionsT(strideH=1, strideW=0, filterWidth=1))),
        "window is not one over rows and columns",
    ),
    "an unknown activation": (
        lambda net: net.flat(net.conv(net.input, 4, activation=ACTIVATION.SIGN_BIT)),
        "activation 5 is fused into it",
    ),
    "softmax with beta": (lambda net: net.flat(softened(net, 0.5)), r"its beta is 0\.5"),
    "no feature map": (
        lambda net: net.op(
            "CONV_2D", [net.mean(net.input), net.weights(4, 1, 1, 3)], (1, 4),
            schema.Conv2DOptionsT(strideH=1, strideW=1),
        ),
        r"it reads \[1, 3\], which is no feature map",
    ),
    "channels that do not divide": (
        lambda net: net.flat(
            net.op("CONV_2D", [net.input, net.weights(4, 1, 1, 2)], (1, 9, 7, 4),
                   schema.Conv2DOptionsT(strideH=1, strideW=1))
        ),
        r"its filters are \[4, 1, 1, 2\] for 3 channels",
    ),
    "pads that cut": (
        lambda net: net.flat(net.op("PAD", [net.input, net.constant([[0, 0], [-1, 0], [0, 0], [0, 0]],
                                            np.int32)], (1, 8, 7, 3), schema.PadOptionsT())),
        "its pads are",
    ),
    "parts of the batch": (
        lambda net: net.flat(split_unequally(net, axis=0)), r"it splits along \[0\] of 4 dimensions",
    ),
    "parts that are too many": (
        lambda net: net.flat(split_unequally(net, axis=1)), r"it makes .* out of \[1, 9, 7, 4\]",
    ),
    "a slice of nothing": (
        lambda net: net.flat(sliced(net, (0, 9, 0, 0), (1, 2, 7, 4))), r"it takes .*\(9, 11, 1\)",
    ),
    "no image": (
        lambda net: net.flat(strided(net, (1, 9, 7, 4), [(1,), (1,), (1,)])), "leaves images",
    ),
    "backwards": (
        lambda net: net.flat(strided(net, (1, 9, 7, 4), [(0, 9), (1, 0), (1, -1)])),
        r"its steps are \[1, -1\]",
    ),
    "without its dimension": (
        lambda net: net.flat(strided(net, (1, 7, 4), [(0, 1), (1, 2), (1, 1)], shrinkAxisMask=2)),
        "it adds or takes away dimensions",
    ),
    "bounds of fewer": (
        lambda net: net.flat(strided(net, (1, 9, 7, 4), [(0, 1), (1,), (1, 1)])),
        "are not those of 4 dimensions",
    ),
    "the batch behind": (
        lambda net: net.flat(transposed(net, net.input, (1, 0, 2, 3))),
        r"it puts 4 dimensions in the order \[1, 0, 2, 3\]",
    ),
    "two results of one": (
        lambda net: net.flat(net.parts("RELU", [net.input], [net.input.shape] * 2, None)[1]),
        "it has 2 results",
    ),
    "weights that are computed": (
        lambda net: net.op("FULLY_CONNECTED", [net.mean(net.input), net.mean(net.input)], (1, 1),
                           schema.FullyConnectedOptionsT()),
        "is not a constant",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "said"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_place_is_named(nets: Any, build: Callable[[Any], Any], said: str) -> None:
    net = nets.Net()
    made = build(net)
    content = net.to_bytes(*(made if isinstance(made, tuple) else (made,)))
    with pytest.raises(StageError, match=said):
        lift_tflite(content, "net.tflite")


def test_channels_first_is_refused(nets: Any) -> None:
    net = nets.Net()
    net.input = net.file.tensor("image", (1, 3, 9, 7), "float32", None)
    with pytest.raises(StageError, match=r"its input is \[1, 3, 9, 7\]") as caught:
        lift_tflite(net.to_bytes(net.flat(net.input)), "net.tflite")
    assert "ONNX" in caught.value.hint
