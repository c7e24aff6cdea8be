"""Quantized files of others: what SyNAP takes as it is, and what it does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.inspect.schemes import Grid
from pipeline.lift.quantized import QuantizedModel, read_quantized
from pipeline.lower.model_file import ModelFile, Quantization

GRID = Quantization((0.5,), (3,))


def integers(
    dtype: str = "uint8", *, image: tuple[int, ...] = (1, 8, 8, 3),
    scores: tuple[int, ...] = (1, 3), ends: tuple[str, str] | None = None,
    grid: Quantization | None = GRID, between: str | None = None,
) -> bytes:  # fmt: skip
    """A classifier that takes the colours' means; `between` is the type of a tensor on the way."""
    file = ModelFile()
    first, last = ends or (dtype, dtype)
    source = given = file.tensor("image", image, first, grid)
    made = file.tensor("scores", scores, last, grid)
    if between is not None:
        source = file.tensor("middle", image, between, None)
        file.operator("DEQUANTIZE", 2, [given], source)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 2, [source, axes], made, schema.ReducerOptionsT())
    return file.to_bytes([given], [made], "", {})


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_what_is_read(dtype: str) -> None:
    model = read_quantized(integers(dtype), "m.tflite")
    assert model.input == model.output == Grid(dtype, (0.5,), (3,))
    assert (model.size, model.classes, dict(model.operators)) == ((8, 8), 3, {"MEAN": 1})


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "float input": (lambda: integers(ends=("float32", "uint8")), "input 'image' is float32;"),
    "float output": (lambda: integers(ends=("uint8", "float32")), "output 'scores' is float32;"),
    "int16": (lambda: integers("int16"), "input 'image' is int16;"),
    "no scale": (lambda: integers(grid=None), "is uint8 without a scale"),
    "scale 0": (lambda: integers(grid=Quantization((0.0,), (0,))), "no uint8 grid"),
    "scale NaN": (lambda: integers(grid=Quantization((float("nan"),), (0,))), "no uint8 grid"),
    "zero point": (lambda: integers("int8", grid=Quantization((1.0,), (128,))), "no int8 grid"),
    "several scales": (
        lambda: integers(grid=Quantization((1.0, 1.0, 1.0), (0, 0, 0), 3)), "no uint8 grid",
    ),
    "several images": (lambda: integers(image=(2, 8, 8, 3)), r"\[2, 8, 8, 3\]; one image"),
    "channels first": (lambda: integers(image=(1, 3, 8, 8)), r"\[1, 3, 8, 8\]; one image"),
    "a map of scores": (lambda: integers(scores=(1, 2, 3)), "a row of scores is needed"),
    "floats on the way": (
        lambda: integers(between="float32"), r"operator 0 \(DEQUANTIZE, makes 'middle'\): is quant",
    ),
    "not TFLite": (lambda: b"synap" * 9, "not a readable TFLite model"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(content: Callable[[], bytes], said: str) -> None:
    with pytest.raises(StageError, match=said):
        read_quantized(content(), "m.tflite")


def test_operators_that_nobody_else_knows(nets: Any) -> None:
    def edit(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = "Mine"

    with pytest.raises(StageError, match=r"operator 0 \(CUSTOM Mine, makes 'scores'\): is no oper"):
        read_quantized(nets.edited(integers(), edit), "m.tflite")


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "mean", "std", "said"),
    [
        ("uint8", 1 / 128, 128, 128 / 255, 128 / 255, None),
        ("int8", 1 / 128, 0, 128 / 255, 128 / 255, None),
        ("uint8", 1 / 128, 128, 0.5, 0.5, "mean 0.501961 and std 0.501961"),
        ("int8", 1 / 127.5, -1, 0.5, 0.5, "mean 0.498039 and std 0.500000"),
        ("uint8", 0.02, 114, 0.449, 0.226, None),
        ("uint8", 1 / 128, 128, 0.449, 0.226, "stands for -1 to 0.992"),
        ("uint8", 1 / 128, 128, 0.0, 1.0, None),
    ],
)
def test_what_speaks_against_a_normalization(
    dtype: str, scale: float, zero_point: int, mean: float, std: float, said: str | None
) -> None:
    grid = Grid(dtype, (scale,), (zero_point,))
    model = QuantizedModel(grid, grid, (8, 8), 3, {})
    found = list(model.cautions(Normalization(mean=(mean,) * 3, std=(std,) * 3)))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
