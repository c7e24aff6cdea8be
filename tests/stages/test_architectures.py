"""timm's architectures of every kind, from weights to a Plan, and what the NPU is said to make of
each: exported with the function unchanged, quantized, and lowered where there is a form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import digest_of_path
from pipeline.errors import NoFormError
from pipeline.graph.file import load_graph, save_graph
from pipeline.lower.operators import Lowered
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.qdq import render_qdq
from pipeline.recipe import Quantize, Ranges
from pipeline.runners import open_runner
from pipeline.synap.npu_operators import npu_findings


@dataclass(frozen=True)
class Architecture:
    """A timm architecture, the smallest input it makes sense with, and what is expected of it."""

    name: str
    size: int = 32
    slow: frozenset[str] = frozenset()
    """Operators that the NPU is said to run slowly; convolutions of stride 2 go without saying."""
    unknown: frozenset[str] = frozenset()
    no_form: frozenset[str] = frozenset()
    """Operators without a place in TFLite; none means that it can be lowered."""


GATED = frozenset({"Mul", "ReduceMean"})
"""What squeeze-and-excite is made of, and hard-swish in part."""
NORMALIZED = frozenset({"ReduceMean", "Pow", "Sqrt", "Div", "Mul"})
"""A layer normalization of opset 13, and GELU in part."""
ATTENTIVE = NORMALIZED | {"MatMul", "Softmax"}
ARCHITECTURES = (
    Architecture("resnet18"),
    Architecture("resnext50_32x4d"),
    Architecture("repvgg_a0", slow=frozenset({"Mul"})),
    # Batch norms in front of the convolutions are a Mul and an Add.
    Architecture("densenet121", slow=frozenset({"Mul"})),
    Architecture("mobilenetv2_035"),
    Architecture("efficientnet_lite0"),
    Architecture("mobilenetv3_small_050", slow=GATED),
    Architecture("efficientnet_b0", slow=GATED),
    Architecture("regnety_002", slow=GATED),
    Architecture("ghostnet_050", slow=GATED),
    Architecture("inception_v3", 75),
    Architecture("xception41", 64),
    # Halves of the channels that are worked on or wait, and leaky activations, as Darknet has them.
    Architecture("cspresnet50", 64),
    Architecture(
        "convnext_atto", slow=NORMALIZED, no_form=frozenset({"Pow", "Sqrt", "Div", "Erf"})
    ),
    # TensorFlow's padding, whose size is computed from that of the image.
    Architecture("tf_efficientnetv2_b0", slow=GATED),
    Architecture("mobilevit_xxs", 64, ATTENTIVE, no_form=frozenset({"Pow", "Sqrt", "Div"})),
    # Batch norms behind matrices, and biases that are gathered from a table.
    Architecture(
        "levit_128s", 224, frozenset({"Mul", "MatMul", "Softmax", "Div", "ReduceMean"}),
        no_form=frozenset({"Div", "MatMul of two activations"}),
    ),
    Architecture(
        "edgenext_xx_small", 64, ATTENTIVE | {"Expand"}, frozenset({"ReduceL2"}),
        frozenset({"Pow", "Sqrt", "Div", "Erf", "ReduceL2", "Expand"}),
    ),
    Architecture(
        "test_vit", 160, ATTENTIVE | {"Gather"},
        no_form=frozenset({"Pow", "Sqrt", "Div", "Erf", "Gather"}),
    ),
)  # fmt: skip
FAST = ("mobilenetv2_035", "mobilenetv3_small_050")


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(a, id=a.name, marks=() if a.name in FAST else pytest.mark.slow)
        for a in ARCHITECTURES
    ],
)
def test_from_weights_to_a_plan(architecture: Architecture, lab: Any, tmp_path: Path) -> None:
    view = lab.view_of(architecture.size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    folder = lab.save_architecture(architecture.name, tmp_path / "model", view, classes=2)
    path = lab.export_graph(folder, view, tmp_path)
    crops = lab.crops_of(view, 4)
    expected = open_runner("torch", folder, view.normalization, 2)(crops)
    logits = open_runner("onnx", path, None, 2)(crops)
    scale, spread = float(np.abs(expected).max()), float(np.ptp(expected, axis=0).max())
    error = float(np.abs(logits - expected).max())
    assert error <= 1e-5 * scale and error < 0.1 * spread, "images have to make a difference"

    model = load_graph(path)
    options = Quantize(ranges=Ranges(rule="minmax"))
    assert isinstance(options.ranges, Ranges)
    tensors = placement_for(model, options).observed
    ranges = observe(model, tensors, view.normalization, [crops], 2)
    plan = make_plan(
        model, digest_of_path(path), view.normalization, ranges, options, options.ranges
    )
    assert {layer for n in model.graph if (layer := n.name) and n.op_type == "Conv"} <= set(
        plan.biases
    )
    quantized = load_graph(path)
    render_qdq(quantized, plan)
    save_graph(quantized, tmp_path / "qdq.onnx")
    integers = open_runner("qdq-onnx", tmp_path / "qdq.onnx", None, 2)(crops)
    assert np.isfinite(integers).all()
    assert np.abs(integers - logits).max() < scale, "of the same size, whatever random weights do"

    findings = npu_findings(model.graph)
    said = {effect: {f.operator for f in findings if f.effect == effect} for effect in
            ("slow", "unknown")}  # fmt: skip
    assert said["slow"] == architecture.slow
    assert said["unknown"] == architecture.unknown
    if not architecture.no_form:
        assert Lowered(model, plan).kinds
        return
    with pytest.raises(NoFormError) as caught:
        Lowered(model, plan)
    assert all(f" x {operator} (first " in str(caught.value) for operator in architecture.no_form)
