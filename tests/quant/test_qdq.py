"""The QDQ rendering against ONNX Runtime in two modes and against exact integers."""

import numpy as np
import onnx_ir as ir
import pytest

from pipeline.check.metrics import sqnr_db
from pipeline.data.preprocess import Preprocess
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.plan import Plan
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.runners.onnx import make_session

NORMALIZATION = Preprocess(size=8).normalization
OPTIONS = [
    Quantize(data_type="uint8", scheme="asymmetric_affine"),
    Quantize(data_type="int8", scheme="asymmetric_affine"),
    Quantize(data_type="int8", scheme="perchannel_symmetric_affine"),
    Quantize(data_type="int8", scheme="dynamic_fixed_point"),
    Quantize(data_type="int16", scheme="dynamic_fixed_point"),
    Quantize(layers={"conv2": "int16"}),
    Quantize(layers={"conv2": "float16", "conv3": "int16"}),
]
NAMES = ["uint8", "int8", "per-channel", "fixed8", "fixed16", "mixed16", "mixed-float"]


def quantized(
    model: ir.Model, images: np.ndarray, options: Quantize
) -> tuple[Plan, np.ndarray, bytes]:
    """The Plan, the float logits and the rendering of a model calibrated on these images."""
    tensors = placement_for(model, options).observed
    seen = observe(model, tensors, NORMALIZATION, np.array_split(images, 2), 1)
    plan = make_plan(model, "0" * 64, NORMALIZATION, seen, options, Ranges())
    float_bytes = ir.to_proto(model).SerializeToString()
    reference = make_session(float_bytes, 1).run(None, {"input": NORMALIZATION.apply(images)})[0]
    render_qdq(model, plan)
    return plan, reference, ir.to_proto(model).SerializeToString()


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
def test_logits_stay_close_and_both_modes_of_the_runtime_agree(
    small: ir.Model, images: np.ndarray, options: Quantize
) -> None:
    plan, reference, rendered = quantized(small, images, options)
    feed = {"input": plan.normalization.apply(images)}
    fused = make_session(rendered, 1).run(None, feed)[0]
    simulated = make_session(rendered, 1, optimize=False).run(None, feed)[0]
    assert sqnr_db(fused, reference) > (60 if options.data_type == "int16" else 20)
    # Integer kernels and float arithmetic on the same grid may differ by a rounding tie.
    step = plan.activations["logits"].scale[0]
    assert np.abs(fused - simulated).max() <= 2.001 * step


def test_runtime_sees_integer_kernels_only(
    small: ir.Model, images: np.ndarray, tmp_path: "object"
) -> None:
    import onnx
    import onnxruntime

    _, _, rendered = quantized(small, images, OPTIONS[0])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = f"{tmp_path}/optimized.onnx"
    onnxruntime.InferenceSession(rendered, options, providers=["CPUExecutionProvider"])
    operators = {node.op_type for node in onnx.load(f"{tmp_path}/optimized.onnx").graph.node}
    assert "QLinearConv" in operators
    assert not operators & {"Conv", "Gemm", "Relu", "AveragePool"}


def test_a_convolution_is_exact_in_integers(build) -> None:  # type: ignore[no-untyped-def]
    """The largest products there are, which saturate in the 16-bit sums of CPUs without VNNI."""
    weight = np.full((2, 3, 3, 3), 1.0, np.float32)
    weight[1] = -1.0
    weight[1, 0, 0, 0] = 0.5
    bias = np.array([0.25, -0.75], np.float32)
    images = np.full((2, 8, 8, 3), 255, np.uint8)
    images[1, ::2] = 3
    for options in OPTIONS[:3]:
        model = build(
            [("Conv", ["x", "w", "b"], "y", {})],
            {"w": weight, "b": bias},
            output_shape=(2, 6, 6),
        )
        plan, _, rendered = quantized(model, images, options)
        result = make_session(rendered, 1).run(None, {"input": plan.normalization.apply(images)})[0]
        assert np.array_equal(result, exact_convolution(plan, weight, bias, images))


def exact_convolution(
    plan: Plan, weight: np.ndarray, bias: np.ndarray, images: np.ndarray
) -> np.ndarray:
    """The specification in exact integers: int32 sums, one multiplication, one rounding."""
    entry, w, out = (
        plan.activations["input"],
        plan.weights["conv1_weight"],
        plan.activations["logits"],
    )
    low = {"uint8": 0, "int8": -128}[plan.data_type]
    pixels = images.transpose(0, 3, 1, 2).astype(np.int64) + low - entry.zero_point[0]
    scales = np.broadcast_to(np.array(w.scale), (2,))
    zeros = np.broadcast_to(np.array(w.zero_point), (2,))
    weight_low = {"uint8": 0, "int8": -127}[plan.data_type]
    weight_high = {"uint8": 255, "int8": 127}[plan.data_type]
    integers = np.clip(
        np.rint(weight / scales[:, None, None, None]) + zeros[:, None, None, None],
        weight_low,
        weight_high,
    ).astype(np.int64) - zeros[:, None, None, None].astype(np.int64)
    planned = plan.biases["conv1"]
    correction = np.array(planned.correction or (0.0, 0.0))
    added = np.rint((bias + correction) / np.array(planned.scale)).astype(np.int64)
    result = np.zeros((len(images), 2, 6, 6))
    for y in range(6):
        for x in range(6):
            window = pixels[:, None, :, y : y + 3, x : x + 3]
            total = (window * integers[None]).sum(axis=(2, 3, 4)) + added
            factor = np.array(planned.scale) / out.scale[0]
            steps = np.clip(np.rint(total * factor) + out.zero_point[0], low, low + 255)
            result[:, :, y, x] = (steps - out.zero_point[0]) * np.float32(out.scale[0])
    return result.astype(np.float32)


def test_dropping_a_saturated_relu_changes_no_bit(
    small: ir.Model, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import copy

    from pipeline.quant import qdq

    kept = ir.from_proto(copy.deepcopy(ir.to_proto(small)))
    plan, _, dropped = quantized(small, images, OPTIONS[0])
    monkeypatch.setattr(qdq, "_drop_saturated", lambda *arguments: None)
    _, _, whole = quantized(kept, images, OPTIONS[0])
    assert b"Relu" not in dropped
    assert b"Relu" in whole
    feed = {"input": plan.normalization.apply(images)}
    results = [make_session(m, 1, optimize=False).run(None, feed)[0] for m in (dropped, whole)]
    assert np.array_equal(*results)


def test_first_layer_makes_up_for_the_half_step_of_the_mean(build) -> None:  # type: ignore[no-untyped-def]
    """With int16-like fine weights only the input's grid is left, and that is lossless."""
    random = np.random.default_rng(5)
    weight = random.normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    images = random.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    model = build([("Conv", ["x", "w"], "y", {})], {"w": weight}, output_shape=(4, 6, 6))
    reference = make_session(ir.to_proto(model).SerializeToString(), 1).run(
        None, {"input": NORMALIZATION.apply(images)}
    )[0]
    entry = make_plan(
        model,
        "0" * 64,
        NORMALIZATION,
        observe(model, ["input", "logits"], NORMALIZATION, [images], 1),
        OPTIONS[0],
        Ranges(),
    )
    on_grid = make_session(ir.to_proto(model).SerializeToString(), 1).run(
        None, {"input": entry.normalization.apply(images)}
    )[0]
    correction = np.array(entry.biases["conv1"].correction).reshape(1, -1, 1, 1)
    assert np.abs(on_grid - reference).max() > 1e-3
    assert np.abs(on_grid + correction - reference).max() < 1e-5
