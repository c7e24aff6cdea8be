"""Inspections as people read them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from pipeline.inspect.inspection import (
    Contents,
    Inspection,
    QuantizationFacts,
    SubgraphFacts,
    TensorFacts,
)
from pipeline.report.inspection_view import print_inspection

IMAGE = TensorFacts(
    "input", (1, 224, 224, 3), "uint8", "nhwc", scale=(0.0078125,), zero_point=(128,),
    means=(127.0,) * 3, deviations=(127.5,), meaning="rgb",
)  # fmt: skip
SCORES = TensorFacts("logits", (1, "n"), "float32", scale=(0.5, 0.25), zero_point=(0, 0))
MODEL = Contents(
    "tflite",
    {"opset": 13, "parameters": 3_489_099, "secure": False},
    (IMAGE,),
    (SCORES,),
    {"CONV_2D": 36, "ADD": 10},
    QuantizationFacts("quantized", "QDQ", "uint8", "asymmetric_affine", 120),
    ("cat", "dog", "tree", "house", "fifth"),
    warnings=("something to mind",),
)
SUBGRAPH = SubgraphFacts(
    0, "npu", "npu", "model.nb", 2_500_000, "b" * 64, ("input 0",), True, (IMAGE,), (SCORES,),
    Contents("npu", {"network": "net", "hardware_type": 0xC1, "hardware_note": "said below"}),
)  # fmt: skip


def shown(contents: Contents, path: str = "m.tflite", **options: Any) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=80, **options)
    print_inspection(Inspection(path, 3_610_798, "a" * 64, contents), console)
    return stream.getvalue()


def has(text: str, *parts: str) -> None:
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


def test_a_model() -> None:
    text = shown(MODEL)
    has(
        text, "m.tflite", "TFLite model, 3.6 MB", "a" * 64,
        "uint8, asymmetric_affine, QDQ, 120 tensors", "CONV_2D 36, ADD 10", "3.5 million",
        "5: cat; dog; tree; house; …", "[1, 224, 224, 3]", "0.0078125", "128", "nhwc", "2 values",
        "input = (byte - 127) / 127.5  (rgb)", "mind:", "- something to mind",
    )  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80


def test_a_bundle() -> None:
    bundle = Contents(
        "synap", {"subgraphs": 1, "npu_build": True}, (IMAGE,), (SCORES,), delegates=("npu",),
        target_hints=("hardware_type 0xc1: VS680, not verified",), subgraphs=(SUBGRAPH,),
    )  # fmt: skip
    text = shown(bundle, "model.synap")
    has(
        text, "SyNAP bundle", "npu", "hardware_type 0xc1: VS680, not verified",
        "subgraph 0: model.nb, compiled NPU model, secured", "b" * 64, "2.5 MB", "net",
    )  # fmt: skip
    assert text.count("nhwc") == 1, "one subgraph's tensors are the bundle's"
    text = shown(replace(bundle, subgraphs=(SUBGRAPH, replace(SUBGRAPH, number=1))))
    has(text, "subgraph 1: model.nb")
    assert text.count("as the bundle describes it") == 2


def test_a_metafile() -> None:
    broken = Contents("metafile", delegates=("npu",), violations=("m.yaml:3: inputs.0: wrong",))
    has(shown(broken, "m.yaml"), "conversion metafile", "breaks the rules:", "m.yaml:3: inputs.0")


def test_texts_are_no_markup() -> None:
    strange = replace(IMAGE, name="[red]in[/red] :smile: [/]")
    text = shown(replace(MODEL, inputs=(strange,), warnings=("[bold]",)), "[a].tflite")
    has(text, "[a].tflite", "[bold]", ":smile:")
    has(text, "[red]in[/red] :smile: [/] = (byte - 127)")
    assert "\x1b" not in shown(MODEL, "m\x1b[2J.tflite")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantization": QuantizationFacts("float", data_type="float16")}, "float16"),
        ({"quantization": QuantizationFacts("float")}, "float"),
        (
            {"quantization": QuantizationFacts("weights only", "QDQ", "int8", None, 3)},
            "int8, no scheme of SyNAP's, weights only, QDQ, 3 tensors",
        ),
        ({"operators": {f"Op{n}": 1 for n in range(20)}}, "and 8 more kinds"),
        ({"inputs": (IMAGE,) * 30}, "and 18 more"),
        ({"inputs": (replace(IMAGE, means=(1.0, 2.5)),)}, "(byte - [1, 2.5]) / 127.5"),
        ({"inputs": (replace(IMAGE, means=()),)}, "(byte - 0) / 127.5"),
        ({"inputs": (TensorFacts("x"),)}, "?"),
        ({"inputs": (replace(IMAGE, quantized_to="int8"),)}, "uint8 as int8"),
    ],
)
def test_what_else_there_may_be(change: Mapping[str, Any], said: str) -> None:
    has(shown(replace(MODEL, **change)), said)


def test_long_names_stay_within_the_width() -> None:
    names: Sequence[str] = ("n" * 200, "m" * 200)
    contents = replace(
        MODEL, inputs=tuple(replace(IMAGE, name=name) for name in names), warnings=("w" * 300,)
    )
    text = shown(contents)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("n") >= 200
