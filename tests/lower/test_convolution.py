"""Layers with weights, against ONNX Runtime and against the specification in exact integers."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.lower.operators import Lowered

SCHEMES = [("uint8", False), ("int8", False), ("int8", True)]
scheme = st.sampled_from(SCHEMES)
seed = st.integers(0, 2**32 - 1)


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    groups = draw(st.sampled_from([1, 1, 2, 3, "depthwise", "multiplied"]))
    inside, outside = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    if groups in ("depthwise", "multiplied"):
        channels = draw(st.integers(2, 9))
        group, filters = channels, channels * (1 if groups == "depthwise" else 2)
        inside = 1
    else:
        group, channels, filters = groups, groups * inside, groups * outside
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    dilations = [draw(st.sampled_from([1, 1, 2])) for _ in range(2)]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    return {
        "size": [draw(st.integers(max(e - 1, 1), 11)) for e in extents],
        "weights": (filters, inside, *kernel),
        "channels": channels,
        "bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, None, "Relu", "Clip"])),
        "attributes": {
            "group": group,
            "kernel_shape": kernel,
            "strides": [draw(st.integers(1, 3)) for _ in range(2)],
            "dilations": dilations,
            "pads": [draw(st.integers(0, e - 1)) for e in (*extents, *extents)],
        },
    }


def fits(case: dict[str, Any]) -> bool:
    attributes = case["attributes"]
    return all(
        case["size"][i] + attributes["pads"][i] + attributes["pads"][i + 2]
        >= (attributes["kernel_shape"][i] - 1) * attributes["dilations"][i] + 1
        for i in range(2)
    )


def parts(case: dict[str, Any], random: np.random.Generator) -> tuple[list[Any], dict[str, Any]]:
    """Nodes and constants of a convolution; some of its channels are much smaller than others."""
    filters = case["weights"][0]
    spread = random.uniform(0.05, 1, (filters, 1, 1, 1))
    constants = {"w": (random.normal(0, 0.3, case["weights"]) * spread).astype(np.float32)}
    names = ["x", "w"]
    if case["bias"]:
        constants["b"] = random.normal(0, 0.5, filters).astype(np.float32)
        names.append("b")
    nodes: list[Any] = [("Conv", names, "c", case["attributes"])]
    if case["activation"] == "Relu":
        nodes.append(("Relu", ["c"], "y", {}))
    elif case["activation"] == "Clip":
        constants |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
        nodes.append(("Clip", ["c", "low", "high"], "y", {}))
    return nodes, constants


@given(case=convolutions().filter(fits), scheme=scheme, reach=st.floats(0.3, 1.2), seed=seed)
@settings(max_examples=150, deadline=None)
def test_every_convolution(
    ops: Any, case: dict[str, Any], scheme: tuple[str, bool], reach: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    nodes, constants = parts(case, random)
    corrections = {"c": random.normal(0, 0.1, case["weights"][0]).tolist()}
    made = ops.both(
        nodes, {"x": (case["channels"], *case["size"])}, constants, data_type=scheme[0],
        per_channel=scheme[1], seed=seed, reach=reach, corrections=corrections,
    )  # fmt: skip
    assert made.steps <= 1
    exact = exact_convolution(made.plan, case, constants, made.feeds["x"], double_multiplier)
    assert np.abs(made.tflite - exact).max() <= 1
    group = case["attributes"]["group"]
    assert made.kinds[-1] == ("DEPTHWISE_CONV_2D" if 1 < group == case["channels"] else "CONV_2D")
    assert len(made.kinds) <= 2


def double_multiplier(total: np.ndarray, factor: float) -> np.ndarray:
    """The specification's real multiplication, rounded once."""
    return np.rint(total * factor)


def fixed_point_multiplier(total: np.ndarray, factor: float) -> np.ndarray:
    """The specification's integers: a 31-bit multiplier and a shift, both rounded (Jacob et al.,
    arXiv 1712.05877, section 2.2; gemmlowp's SaturatingRoundingDoublingHighMul, which adds the
    sign's half, and its RoundingDivideByPOT, which rounds half away from zero)."""
    fraction, exponent = math.frexp(factor)
    multiplier = round(fraction * 2**31)
    if multiplier == 2**31:
        multiplier, exponent = 2**30, exponent + 1
    product = (total << max(exponent, 0)) * multiplier
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    shift = max(-exponent, 0)
    mask = (1 << shift) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> shift) + ((high & mask) > threshold)


def exact_convolution(
    plan: Any, case: dict[str, Any], constants: Any, x: np.ndarray, multiply: Any
) -> np.ndarray:
    """Sums of products of integers, one window after another, then one multiplication."""
    entry, weights = plan.activations["x"], plan.weights["w"]
    out = plan.activations["c" if case["activation"] is None else "y"]
    filters, inside, height, width = case["weights"]
    attributes = case["attributes"]
    low = {"uint8": 0, "int8": -127}[plan.data_type]
    high = {"uint8": 255, "int8": 127}[plan.data_type]
    shape = (-1, 1, 1, 1)
    scales = np.broadcast_to(weights.scale, filters)
    zeros = np.broadcast_to(weights.zero_point, filters).reshape(shape)
    kernel = np.clip(np.rint(constants["w"] / scales.reshape(shape)) + zeros, low, high) - zeros
    kernel = kernel.astype(np.int64)
    planned = plan.biases["c"]
    real = constants.get("b", np.zeros(filters)) + np.array(planned.correction or 0.0)
    bias = np.rint(real / np.array(planned.scale)).astype(np.int64)
    top, left, bottom, right = attributes["pads"]
    image = np.pad(x - entry.zero_point[0], ((0, 0), (0, 0), (top, bottom), (left, right)))
    (sy, sx), (dy, dx) = attributes["strides"], attributes["dilations"]
    rows = (image.shape[2] - (height - 1) * dy - 1) // sy + 1
    columns = (image.shape[3] - (width - 1) * dx - 1) // sx + 1
    result = np.zeros((len(x), filters, rows, columns), np.int64)
    each = filters // attributes["group"]
    for f in range(filters):
        first = f // each * inside
        factor = entry.scale[0] * float(scales[f]) / out.scale[0]
        for row in range(rows):
            for column in range(columns):
                y, z = row * sy, column * sx
                window = image[
                    :, first : first + inside,
                    y : y + (height - 1) * dy + 1 : dy, z : z + (width - 1) * dx + 1 : dx,
                ]  # fmt: skip
                total = (window * kernel[f]).sum(axis=(1, 2, 3)) + bias[f]
                result[:, f, row, column] = multiply(total, factor)
    ends = [-(10**9), 10**9]
    if case["activation"] is not None:
        ends[0] = 0
    if case["activation"] == "Clip":
        ends[1] = round(6 / out.scale[0])
    low, high = {"uint8": (0, 255), "int8": (-128, 127)}[plan.data_type]
    return np.clip(np.clip(result, *ends) + out.zero_point[0], low, high)


@given(case=convolutions().filter(fits), scheme=scheme, seed=seed)
@settings(max_examples=60, deadline=None)
def test_reference_kernels_give_the_specifications_integers_to_the_bit(
    ops: Any, case: dict[str, Any], scheme: tuple[str, bool], seed: int
) -> None:
    """So scales, zero points, weights, bias and padding stand in the file as they were planned."""
    nodes, constants = parts(case, np.random.default_rng(seed))
    made = ops.both(
        nodes, {"x": (case["channels"], *case["size"])}, constants, data_type=scheme[0],
        per_channel=scheme[1], seed=seed,
    )  # fmt: skip
    reference = ops.run_tflite(made.content, made.feeds, resolver="BUILTIN_REF")
    exact = exact_convolution(made.plan, case, constants, made.feeds["x"], fixed_point_multiplier)
    np.testing.assert_array_equal(reference, exact)


@pytest.mark.parametrize(("data_type", "per_channel"), SCHEMES)
@pytest.mark.parametrize("ahead", ["features", "pixels", "map"])
@given(seed=seed, transposed=st.booleans(), bias=st.booleans(), relu=st.booleans())
@settings(max_examples=12, deadline=None)
def test_every_gemm(
    ops: Any,
    data_type: str,
    per_channel: bool,
    ahead: str,
    seed: int,
    transposed: bool,
    bias: bool,
    relu: bool,
) -> None:
    """Behind a row of features, a flattened 1x1 map, and a map that has to keep ONNX's order."""
    random = np.random.default_rng(seed)
    shape = {"features": (12,), "pixels": (12, 1, 1), "map": (3, 2, 4)}[ahead]
    width = int(np.prod(shape))
    matrix = random.normal(0, 0.3, (5, width)).astype(np.float32)
    constants = {"w": matrix if transposed else np.ascontiguousarray(matrix.T)}
    names = ["x" if ahead == "features" else "f", "w"]
    if bias:
        constants["b"] = random.normal(0, 1, 5).astype(np.float32)
        names.append("b")
    nodes: list[Any] = [] if ahead == "features" else [("Flatten", ["x"], "f", {"axis": 1})]
    nodes.append(("Gemm", names, "g", {"transB": int(transposed)}))
    nodes += [("Relu", ["g"], "y", {})] if relu else []
    made = ops.both(
        nodes, {"x": shape}, constants, data_type=data_type, per_channel=per_channel, seed=seed
    )
    assert made.steps <= 1
    assert "TRANSPOSE" not in made.kinds
    layers = {False: ["FULLY_CONNECTED"], True: ["CONV_2D", "RESHAPE"]}[per_channel]
    flat = (ahead == "features") if per_channel else (ahead != "features")
    assert made.kinds == ["RESHAPE"] * flat + layers


def test_a_flattened_map_that_others_read_too(ops: Any) -> None:
    """The Gemm reads the map as it is stored, the other reader in ONNX's order."""
    random = np.random.default_rng(0)
    nodes: list[Any] = [
        ("Flatten", ["x"], "f", {"axis": 1}),
        ("Gemm", ["f", "w"], "g", {"transB": 1}),
        ("Add", ["g", "f"], "y", {}),
    ]
    weights = {"w": random.normal(0, 0.3, (24, 24)).astype(np.float32)}
    made = ops.both(nodes, {"x": (3, 2, 4)}, weights, data_type="uint8")
    assert made.steps <= 2  # one of the Gemm, one of the Add
    assert made.kinds == ["TRANSPOSE", "RESHAPE", "RESHAPE", "FULLY_CONNECTED", "ADD"]


@pytest.mark.parametrize(("data_type", "per_channel"), SCHEMES)
def test_matmul_is_a_gemm(ops: Any, data_type: str, per_channel: bool) -> None:
    weights = {"w": np.random.default_rng(0).normal(0, 0.3, (12, 7)).astype(np.float32)}
    made = ops.both(
        [("MatMul", ["x", "w"], "y", {})],
        {"x": (12,)},
        weights,
        data_type=data_type,
        per_channel=per_channel,
    )
    assert made.steps <= 1
    assert made.kinds == (["RESHAPE", "CONV_2D", "RESHAPE"] if per_channel else ["FULLY_CONNECTED"])


@pytest.mark.parametrize("data_type", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("pads", "stride", "kinds"),
    [
        ([0, 0, 1, 1], 2, ["CONV_2D"]),  # TensorFlow's own, as exporters write it: SAME
        ([1, 1, 1, 1], 1, ["CONV_2D"]),
        ([1, 1, 0, 0], 2, ["PAD", "CONV_2D"]),
        ([2, 0, 1, 3], 1, ["PAD", "CONV_2D"]),
    ],
)
def test_padding_of_its_own_is_read_past(
    ops: Any, pads: list[int], stride: int, kinds: list[str], data_type: str
) -> None:
    constants = {
        "w": np.random.default_rng(0).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "pads": np.array([0, 0, *pads[:2], 0, 0, *pads[2:]]),
    }
    for inner in ([0, 0, 0, 0], [1, 0, 1, 0]):
        nodes: list[Any] = [
            ("Pad", ["x", "pads"], "p", {}),
            (
                *("Conv", ["p", "w"], "y"),
                {"kernel_shape": [3, 3], "strides": [stride] * 2, "pads": inner},
            ),
        ]
        made = ops.both(nodes, {"x": (3, 8, 8)}, constants, data_type=data_type)
        assert made.steps <= 1
        assert made.kinds == (["PAD", "CONV_2D"] if any(inner) else kinds)


def test_padding_that_is_no_zero_stays(ops: Any) -> None:
    constants = {
        "w": np.random.default_rng(0).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "fill": np.array(0.3, np.float32),
    }
    nodes: list[Any] = [
        ("Pad", ["x", "pads", "fill"], "p", {}),
        ("Conv", ["p", "w"], "y", {"kernel_shape": [3, 3]}),
    ]
    made = ops.both(nodes, {"x": (3, 8, 8)}, constants, data_type="uint8")
    assert (made.steps <= 1, made.kinds) == (True, ["PADV2", "CONV_2D"])


def test_versions_are_the_lowest(ops: Any) -> None:
    """As LiteRT's own converter counts them (op_version.cc)."""
    random = np.random.default_rng(0)

    def version(data_type: str, weights: tuple[int, ...], **attributes: Any) -> tuple[str, int]:
        channels = attributes.get("group", 1) * weights[1]
        constants = {"w": random.normal(0, 0.3, weights).astype(np.float32)}
        nodes = [("Conv", ["x", "w"], "y", {"kernel_shape": list(weights[2:]), **attributes})]
        made = ops.both(nodes, {"x": (channels, 6, 6)}, constants, data_type=data_type)
        return ops.codes(made.content)[-1]

    assert version("uint8", (4, 3, 3, 3)) == ("CONV_2D", 1)
    assert version("int8", (4, 3, 3, 3)) == ("CONV_2D", 3)
    assert version("uint8", (4, 2, 3, 3), group=2) == ("CONV_2D", 6)
    assert version("int8", (4, 2, 3, 3), group=2) == ("CONV_2D", 6)
    assert version("uint8", (4, 1, 3, 3), group=4) == ("DEPTHWISE_CONV_2D", 1)
    assert version("uint8", (4, 1, 3, 3), group=4, dilations=[2, 2]) == ("DEPTHWISE_CONV_2D", 2)
    assert version("int8", (4, 1, 3, 3), group=4, dilations=[2, 2]) == ("DEPTHWISE_CONV_2D", 3)


def refused(ops: Any, nodes: list[Any], shape: tuple[int, ...], constants: Any) -> str:
    with pytest.raises(StageError) as caught:
        ops.both(nodes, {"x": shape}, constants, data_type="uint8")
    return str(caught.value)


def test_what_has_no_place(ops: Any) -> None:
    matrix = {"w": np.ones((4, 3), np.float32)}
    said = refused(ops, [("Gemm", ["x", "w"], "y", {"alpha": 2.0})], (4,), matrix)
    assert said.startswith("Gemm y: alpha or beta is not 1")
    line = {"w": np.ones((2, 3, 3), np.float32)}
    said = refused(ops, [("Conv", ["x", "w"], "y", {"kernel_shape": [3]})], (3, 8), line)
    assert said.startswith("Conv y: it runs over 1 dimensions")
    wide = {"w": np.ones((3, 4), np.float32)}
    said = refused(ops, [("MatMul", ["x", "w"], "y", {})], (5, 3), wide)
    assert said.startswith("MatMul y: its input has 3 dimensions")


def test_a_plan_that_breaks_a_rule(ops: Any) -> None:
    """Changed by hand, because ours do not."""
    weights = {"w": np.ones((4, 3, 3, 3), np.float32), "b": np.ones(4, np.float32)}
    model = ops.graph_of(
        [("Conv", ["x", "w", "b"], "y", {"kernel_shape": [3, 3]})], {"x": (3, 6, 6)}, weights
    )
    feeds = {"x": ops.random_integers(np.random.default_rng(0), (1, 3, 6, 6), "uint8")}

    def said(data_type: str, **changes: Any) -> str:
        entry = {"x": ops.tensor_plan(data_type, 0.02, 3)}
        plan = ops.plan_of(model, entry, feeds, data_type=data_type)
        plan = plan.model_copy(update={name: change(plan) for name, change in changes.items()})
        with pytest.raises(StageError) as caught:
            Lowered(model, plan)
        return str(caught.value)

    def weight(**update: Any) -> Any:
        return lambda plan: {"w": plan.weights["w"].model_copy(update=update)}

    four = {"scale": (0.1,) * 4, "zero_point": (0,) * 4}
    assert "no uint8 weights with a scale for every channel" in said(
        "uint8", weights=weight(axis=0, **four)
    )
    assert "no int8 weights with a zero point" in said("int8", weights=weight(zero_point=(1,)))
    assert "along axis 1 of its weights, TFLite along 0" in said(
        "int8", weights=weight(axis=1, **four)
    )
    assert "not the input's times that of its weights" in said(
        "int8",
        biases=lambda plan: {"y": plan.biases["y"].model_copy(update={"scale": (0.5,)})},
    )
    assert "leaves its bias float" in said("int8", biases=lambda plan: {})
    assert "has no int8 weights for it" in said("int8", weights=lambda plan: {})
    assert "the Plan leaves y float" in said(
        "int8", activations=lambda plan: {"x": plan.activations["x"]}
    )
    assert "a form of its own" in said(
        "int8",
        activations=lambda plan: {**plan.activations, "y": ops.tensor_plan("int16", 0.1, 0)},
    )
    assert "says nothing of the model's input x" in said("int8", activations=lambda plan: {})
