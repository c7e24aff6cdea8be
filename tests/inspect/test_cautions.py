"""What speaks against tensors, whatever file they are in."""

import pytest

from pipeline.inspect.cautions import float_cautions, image_layout, listed, tensor_cautions
from pipeline.inspect.inspection import QuantizationFacts, TensorFacts

GOOD = TensorFacts("x", (1, 3, 8, 8), "uint8", scale=(0.5,), zero_point=(0,), deviations=(2.0, 2.0))


def test_nothing_against_good_ones() -> None:
    assert tensor_cautions([GOOD], [GOOD]) == []
    assert float_cautions(QuantizationFacts("quantized")) == []


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (TensorFacts("x", (1, 2), "int64"), "int64 at x: SyNAP's runtime cannot"),
        (TensorFacts("x", ("n", 2)), "the batch size is free at x: it has to be fixed to 1"),
        (TensorFacts("x", (1, "h")), "free sizes at x"),
        (TensorFacts("x", None), "no shape at x"),
        (TensorFacts("x", (1,), scale=(1.0, 2.0), zero_point=(0, 0)), "several scales at x"),
        (TensorFacts("x", (1,), scale=(0.0,)), "no positive number at x"),
        (TensorFacts("x", (1,), scale=(float("nan"),)), "no positive number at x"),
        (TensorFacts("x", (1,), deviations=(1.0, 2.0)), "a deviation for every channel at x"),
    ],
)
def test_what_is_said(tensor: TensorFacts, said: str) -> None:
    [line] = tensor_cautions([tensor], [])
    assert said in line


def test_float_and_half_float_models() -> None:
    assert "float model" in float_cautions(QuantizationFacts("float"))[0]
    assert "only the weights" in float_cautions(QuantizationFacts("weights only"))[0]


def test_many_names_are_not_all_said() -> None:
    assert listed(f"t{n}" for n in range(9)) == "t0, t1, t2, t3, t4 and 4 more"


def test_layouts() -> None:
    assert image_layout((1, 3, 8, 8)) == "nchw"
    assert image_layout(("n", 8, 8, 3)) == "nhwc"
    assert image_layout((1, 3)) is None
    assert image_layout((1, 8, 8, 1)) is None
    assert image_layout(None) is None
