"""A metafile of the user's own is held against the picture that the model was measured on."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.inspect.schemes import Grid
from pipeline.recipe import Compile
from pipeline.synap.hand_over import hand_over_onnx, hand_over_tflite
from pipeline.synap.metafile import Input, ModelFormat
from pipeline.synap.metafile_read import parse_metafile
from pipeline.synap.own_metafile import require_same_picture

MEASURED = Input(means=(127.5,) * 3, scale=127.5, format="rgb")
SAME = "means: [127.5, 127.5, 127.5], scale: 127.5"


def uint8(scale: float = 2 / 255, zero_point: int = 128) -> Grid:
    return Grid("uint8", (scale,), (zero_point,))


def hold(text: str, grid: Grid | None = None, measured: Input = MEASURED) -> None:
    kind: ModelFormat = "onnx" if grid is None else "tflite"
    require_same_picture(Path("own.yaml"), parse_metafile(text, "own.yaml", kind), measured, grid)


OTHER = [
    ("means: [0, 0, 0], scale: 127.5", r"means: \[0, 0, 0\], but it was measured with \[127.5, "),
    ("means: [127.5, 127.5, 127], scale: 127.5", r"means: \[127.5, 127.5, 127\], but"),
    ("means: [127.5], scale: 127.5", r"means: \[127.5\], but"),
    ("means: [127.5, 127.5, 127.5], scale: 1", "scale: 1, but it was measured with 127.5"),
    ("means: [127.5, 127.5, 127.5], scale: -127.5", "scale: -127.5, but"),
    (f"{SAME}, format: bgr", "format: bgr, but it was measured with rgb"),
    (f"{SAME}, format: BGR keep_proportions=0", "format: BGR, but"),
    (f"{SAME}, format: y8", "format: y8, but"),
]


@pytest.mark.parametrize("grid", [None, uint8(), Grid("int8", (2 / 255,), (0,))])
@pytest.mark.parametrize(("image", "said"), OTHER)
def test_another_picture(image: str, said: str, grid: Grid | None) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        hold(f"inputs: [{{{image}}}]", grid)
    assert caught.value.where == "own.yaml"
    assert f"{SAME}, format: rgb" in caught.value.hint


@pytest.mark.parametrize("grid", [None, uint8()])
@pytest.mark.parametrize(
    "text",
    [
        f"inputs: [{{{SAME}}}]",
        f"inputs: [{{{SAME}, format: rgb keep_proportions=0}}]",
        f"inputs: [{{{SAME}, format: keep_proportions=0}}]",
        f"input_format: rgb\ninputs: [{{{SAME}}}]",
        f"input_format: bgr\ninputs: [{{{SAME}, format: rgb}}]",
        "inputs: [{means: [127.5, 127.5, 127.501], scale: 127.5001}]",
    ],
)
def test_the_same_picture(text: str, grid: Grid | None) -> None:
    hold(text, grid)


def test_the_format_of_all_inputs_counts_where_the_input_has_none() -> None:
    with pytest.raises(UsageError, match="input_format: bgr, but it was measured with rgb"):
        hold(f"input_format: bgr\ninputs: [{{{SAME}}}]", uint8())


def test_all_differences_are_said_at_once() -> None:
    with pytest.raises(UsageError, match=r"(?s)means: .*scale: .*format: ") as caught:
        hold("inputs: [{means: [0, 0, 0], scale: 1, format: bgr}]", uint8())
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize("text", ["", "inputs: [{}]", "inputs: []", "inputs: [{scale: 127.5}]"])
@pytest.mark.parametrize("grid", [uint8(), uint8(zero_point=127), uint8(1 / 127.5)])
def test_what_is_left_out_of_bytes_is_the_inputs_own(text: str, grid: Grid) -> None:
    hold(text, grid)


@pytest.mark.parametrize(
    ("text", "grid", "said"),
    [
        ("inputs: [{}]", None, "means: left out.*calibrate without"),
        ("inputs: [{means: [127.5, 127.5, 127.5]}]", None, "scale: left out.*calibrate without"),
        ("", Grid("int8", (2 / 255,), (0,)), "means: left out.*zero point 0 of int8"),
        ("", uint8(zero_point=126), "means: left out.*zero point 126"),
        ("", uint8(scale=1 / 64), "scale: left out.*1/scale of the input, 64"),
        ("inputs: [{scale: 127.5}]", uint8(scale=1 / 64), "means: left out.*zero point 128"),
        ("inputs: [{preprocess: {type: nv12}}]", uint8(), "means: left out.*preprocess"),
        ("inputs: [{preprocess: {type: none}}]", uint8(zero_point=9), "means: .*zero point 9"),
    ],
)
def test_what_is_left_out_where_that_is_another_picture(
    text: str, grid: Grid | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        hold(text, grid)


def test_other_means_of_the_channels() -> None:
    hold("inputs: [{preprocess: {type: none}}]", uint8())
    measured = MEASURED.model_copy(update={"means": (127.5, 102.0, 114.75)})
    with pytest.raises(UsageError, match="means: left out"):
        hold("", uint8(), measured)


ANOTHER = "inputs: [{means: [0, 0, 0], scale: 63.75}]\n"


def test_a_tflite_is_not_handed_over_with_another_picture(trio: Any, tmp_path: Path) -> None:
    import numpy as np

    from pipeline.graph.file import load_graph
    from pipeline.lower.render import render_tflite
    from pipeline.quant.make_plan import make_plan, placement_for
    from pipeline.quant.observe import observe
    from pipeline.recipe import Quantize, Ranges

    graph, quantize, normalization = load_graph(trio.graph), Quantize(), trio.view.normalization
    crops = np.zeros((2, 64, 64, 3), np.uint8)
    tensors = placement_for(graph, quantize).observed
    seen = observe(graph, tensors, normalization, [crops], 1)
    plan = make_plan(graph, "0" * 64, normalization, seen, quantize, Ranges(rule="minmax"))
    (tmp_path / "m.tflite").write_bytes(render_tflite(graph, plan, None))
    (tmp_path / "own.yaml").write_text(ANOTHER)
    (tmp_path / "b").mkdir()
    with pytest.raises(UsageError, match=r"own\.yaml: .*(?s:.*)means: \[0, 0, 0\], but it was"):
        hand_over_tflite(
            tmp_path / "b", tmp_path / "m.tflite", plan.normalization, Compile(),
            tmp_path / "own.yaml",
        )  # fmt: skip


def test_an_onnx_is_not_handed_over_with_another_picture(trio: Any, tmp_path: Path) -> None:
    from pipeline.recipe import Quantize

    (tmp_path / "own.yaml").write_text(
        ANOTHER + "quantization: {dataset: [calibration/*.png], scheme: asymmetric_affine}\n"
    )
    (tmp_path / "b").mkdir()
    with pytest.raises(UsageError, match=r"own\.yaml: .*(?s:.*)means: \[0, 0, 0\], but it was"):
        hand_over_onnx(
            tmp_path / "b", trio.graph, Quantize(), [], Compile(handoff="onnx"),
            tmp_path / "own.yaml",
        )  # fmt: skip
