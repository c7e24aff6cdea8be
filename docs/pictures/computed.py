"""What the pictures show: small seeded arrays, put through the functions that conversions use.

Every function gives plain numbers, by name. Nothing is drawn here (`draw.py`).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.quant.adaptive_rounding import round_rows
from pipeline.quant.equalize.channels import ChannelRanges
from pipeline.quant.equalize.coupling import find_couplings
from pipeline.quant.equalize.cross_layer import equalize_layers
from pipeline.quant.equalize.weights import Weights
from pipeline.quant.histogram import Histogram
from pipeline.quant.noise import density, squared_error
from pipeline.quant.plan import weight_type
from pipeline.quant.rules import RULES
from pipeline.quant.scheme import UINT8, IntegerType, along, asymmetric, dequantize, quantize
from pipeline.quant.weight_scale import scale_weights
from pipeline.recipe import LEGAL_SCHEMES, Ranges

Numbers = dict[str, Any]
Float = NDArray[np.float64]
Weight = NDArray[np.float32]


def integers() -> Numbers:
    """Real values, what 16 integers make of them, and the error."""
    type = IntegerType("uint8", 0, 15)
    scale, zero_point = asymmetric(-1.0, 3.0, type)
    real = np.linspace(-2.0, 4.0, 301)
    steps = quantize(real, np.array(scale), np.array(zero_point), type)
    kept = dequantize(steps, np.array(scale), np.array(zero_point))
    low, high = ((end - zero_point) * scale for end in (type.minimum, type.maximum))
    return {"scale": scale, "zero_point": zero_point, "low": low, "high": high,
            "real": real, "kept": kept, "error": kept - real}  # fmt: skip


def ranges() -> Numbers:
    """The values of an activation behind a Relu, on 64 images of which one has five outliers: the
    range each rule takes, and what any range would cost."""
    random = np.random.default_rng(0)
    images = np.maximum(random.laplace(0, 1, (64, 65536)), 0).astype(np.float32)
    images[20, :5] = random.uniform(30, 60, 5)
    seen = Histogram()
    seen.add(images.reshape(-1), images.min(axis=1), images.max(axis=1))
    edges, counts = density(seen)
    signal = float(np.square(images, dtype=np.float64).sum())

    def ratio(high: float) -> float:
        return 10 * math.log10(signal / squared_error(edges, counts, 0.0, high, UINT8))

    ends = np.geomspace(0.04, 1.0, 80) * seen.maximum
    chosen = {rule: RULES[rule](seen, Ranges(), UINT8)[1] for rule in RULES}
    merged = seen.counts.reshape(-1, 16).sum(axis=1)
    return {
        "edges": seen.edges()[::16], "counts": merged, "maximum": seen.maximum,
        "ends": ends, "ratios": [ratio(end) for end in ends.tolist()],
        "chosen": chosen, "chosen_ratios": {rule: ratio(end) for rule, end in chosen.items()},
    }  # fmt: skip


def channels() -> Numbers:
    """A depthwise layer's channels, and the noise of each with one scale for all and with its own."""
    weight = depthwise()
    rows = weight.reshape(len(weight), -1)
    _, one = with_scales(weight, None, "uint8", "asymmetric_affine")
    scales, own = with_scales(weight, 0, "int8", "perchannel_symmetric_affine")
    tensor, _ = scale_weights(weight, None, UINT8, "asymmetric_affine", "minmax")
    return {
        "low": rows.min(axis=1), "high": rows.max(axis=1),
        "step": tensor[0], "own_steps": scales,
        "levels": [len(np.unique(row)) for row in one.reshape(len(weight), -1)],
        "per_tensor": by_channel(one, weight), "per_channel": by_channel(own, weight),
    }  # fmt: skip


def equalization() -> Numbers:
    """Two layers before and after their channels were given equal ranges."""
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    spread = np.exp(random.normal(0, 1.0, 24))[:, None]
    first = (random.normal(0, 0.3, (24, 16)) * spread).astype(np.float32)
    second = (random.normal(0, 0.3, (12, 24)) / spread.T).astype(np.float32)
    values = random.normal(0, 1, (512, 16)).astype(np.float32)
    arrays = {"v": first[:, :, None, None], "w": second[:, :, None, None]}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w"], ["y"], name="second"),
    ]
    shapes = {"x": 16, "a": 24, "r": 24, "y": 12}
    info = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size, 1, 1])
        for name, size in shapes.items()
    }
    proto = helper.make_graph(
        nodes, "two", [info["x"]], [info["y"]],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        value_info=[info["a"], info["r"]],
    )  # fmt: skip
    graph = ir.serde.deserialize_graph(proto)
    weights = Weights(graph)
    results = values @ first.T.astype(np.float64)
    seen = {
        name: ChannelRanges(result.min(axis=0), result.max(axis=0))
        for name, result in {"a": results, "r": np.maximum(results, 0)}.items()
    }
    numbers = {"before": _two_layers(first, second, values)}
    equalize_layers(find_couplings(graph), weights, seen)
    after = [weights.outgoing(name).reshape(shape.shape).astype(np.float32)
             for name, shape in (("first", first), ("second", second))]  # fmt: skip
    numbers["after"] = _two_layers(after[0], after[1], values)
    return numbers


def rounding() -> Numbers:
    """The errors of a depthwise filter's results: rounded, with its mean put back, and rounded so
    that errors cancel."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(5)
    picture = np.maximum(gaussian_filter(random.normal(0, 1, (96, 96)), 2.5) * 5 + 0.3, 0)
    patches = np.lib.stride_tricks.sliding_window_view(picture, (3, 3)).reshape(-1, 9)
    weight = depthwise()[12:13]
    scale, zero = scale_weights(depthwise(), None, UINT8, "asymmetric_affine", "mse")
    grid = scale, zero.astype(np.float64)
    nearest = dequantize(quantize(weight, *grid, UINT8), *grid).reshape(9)
    moments = (patches.T @ patches)[None]
    rows = weight.reshape(1, 1, 9).astype(np.float64)
    together = round_rows(rows, moments, grid[0][None], grid[1][None], UINT8).reshape(9)
    exact = patches @ weight.reshape(9).astype(np.float64)
    errors = {"nearest": patches @ nearest - exact, "adaptive": patches @ together - exact}
    errors["nearest, mean put back"] = errors["nearest"] - errors["nearest"].mean()
    errors["adaptive, mean put back"] = errors["adaptive"] - errors["adaptive"].mean()
    limit = max(float(np.abs(error).max()) for error in errors.values())
    edges = np.linspace(-limit, limit, 121)
    signal = float(np.square(exact).sum())
    return {
        "edges": edges,
        "counts": {name: np.histogram(error, edges)[0] for name, error in errors.items()},
        "ratios": {
            name: 10 * math.log10(signal / float(np.square(error).sum()))
            for name, error in errors.items()
        },
    }


def schemes() -> Numbers:
    """Weights in each of SyNAP's pairs of type and scheme, for a dense and a depthwise layer."""
    random = np.random.default_rng(7)
    dense = (
        random.normal(0, 0.05, (64, 32, 3, 3)) * np.exp(random.normal(0, 0.3, (64, 1, 1, 1)))
    ).astype(np.float32)
    found: Numbers = {}
    for data_type, legal in LEGAL_SCHEMES.items():
        for scheme in legal:
            axis = 0 if scheme.startswith("perchannel") else None
            found[f"{data_type} {scheme}"] = {
                name: ratio_db(with_scales(weight, axis, data_type, scheme)[1], weight)
                for name, weight in (("dense", dense), ("depthwise", depthwise()))
            }
    return found


def depthwise() -> Weight:
    """32 filters 3x3 whose magnitudes differ as those of MobileNets do."""
    random = np.random.default_rng(1)
    magnitudes = np.sort(np.exp(random.normal(0, 1.3, 32)))[::-1]
    filters = random.normal(0, 0.1, (32, 1, 3, 3)) * magnitudes[:, None, None, None]
    return np.asarray(filters, np.float32)


def with_scales(
    weight: Weight, axis: int | None, data_type: Any, scheme: Any
) -> tuple[Float, Float]:
    """Scales by least squared error, and the real values that the integers stand for."""
    type = weight_type(data_type)
    scales, zeros = scale_weights(weight, axis, type, scheme, "mse")
    grid = along(scales, axis, weight.ndim), along(zeros.astype(np.float64), axis, weight.ndim)
    return scales, np.asarray(dequantize(quantize(weight, *grid, type), *grid), np.float64)


def ratio_db(kept: Float, real: Weight) -> float:
    """Signal to quantization noise."""
    noise = float(np.square(kept - real).sum())
    return 10 * math.log10(float(np.square(real, dtype=np.float64).sum()) / noise)


def by_channel(kept: Float, real: Weight) -> list[float]:
    return [ratio_db(one, other) for one, other in zip(kept, real, strict=True)]


def _two_layers(first: Weight, second: Weight, values: Weight) -> Numbers:
    """Ranges of the channels between two layers, and the noise of the result with both layers'
    weights in uint8."""

    def result(one: Float | Weight, other: Float | Weight) -> Float:
        return np.asarray(np.maximum(values.astype(np.float64) @ one.T, 0) @ other.T, np.float64)

    kept = [with_scales(layer, None, "uint8", "asymmetric_affine")[1] for layer in (first, second)]
    exact = result(first, second)
    return {
        "written": np.abs(first).max(axis=1), "read": np.abs(second).max(axis=0),
        "ratio": ratio_db(result(*kept), exact.astype(np.float32)),
    }  # fmt: skip
