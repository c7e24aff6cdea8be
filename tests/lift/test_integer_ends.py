"""Quantized files that take and give floats, as TensorFlow's converter writes them by default."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.inspect.schemes import Grid
from pipeline.lift.integer_ends import with_integer_ends
from pipeline.lift.quantized import read_quantized
from pipeline.lift.subgraph import read_subgraph
from pipeline.lower.model_file import ModelFile, Quantization
from pipeline.runners.litert import make_interpreter
from pipeline.runners.tflite import TfliteRunner

IMAGE = Quantization((2 / 255,), (-1,))
SCORES = Quantization((0.01,), (5,))
VIEW = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def converted(first: str = "float32", last: str = "float32", integers: str = "int8") -> bytes:
    """The colours' means, with these types at the ends."""
    file = ModelFile()
    given = file.tensor("image", (1, 8, 8, 3), first, IMAGE if first == "int8" else None)
    source = given
    if first != integers:
        source = file.tensor("image_int", (1, 8, 8, 3), integers, IMAGE)
        file.operator("QUANTIZE", 1, [given], source)
    means = file.tensor("means", (1, 3), integers, SCORES)
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator("MEAN", 2, [source, axes], means, schema.ReducerOptionsT())
    made = means
    if last != integers:
        made = file.tensor("scores", (1, 3), last, None)
        file.operator("DEQUANTIZE", 2, [means], made)
    return file.to_bytes([given], [made], "", {})


def scores(content: bytes, path: Path) -> NDArray[np.float32]:
    path.write_bytes(content)
    crops = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3)).astype(np.uint8)
    return TfliteRunner(make_interpreter(path, 1), VIEW, "m.tflite")(crops)


@pytest.mark.parametrize(
    ("first", "last"), [("float32", "float32"), ("float32", "int8"), ("int8", "float32")]
)
def test_floats_at_the_ends_go(nets: Any, tmp_path: Path, first: str, last: str) -> None:
    def sign(model: Any) -> None:
        model.signatureDefs = [
            schema.SignatureDefT(
                inputs=[schema.TensorMapT(name="x", tensorIndex=0)],
                outputs=[schema.TensorMapT(name="y", tensorIndex=1)],
                signatureKey="serving_default",
            )
        ]

    given = nets.edited(converted(first, last), sign)
    made = with_integer_ends(given, "m.tflite")
    model = read_quantized(made, "m.tflite")
    assert model.input == Grid("int8", (np.float32(2 / 255),), (-1,))
    assert model.output == Grid("int8", (np.float32(0.01),), (5,))
    assert dict(model.operators) == {"MEAN": 1}
    assert len(made) == len(given)
    assert np.array_equal(scores(made, tmp_path / "m"), scores(given, tmp_path / "g"))
    assert not make_interpreter(tmp_path / "m", 1).get_signature_list()


def test_operators_behind_keep_their_places(nets: Any) -> None:
    """The list of operators is shortened at its beginning, so all that follow move."""
    subgraph = read_subgraph(with_integer_ends(converted(last="int8"), "m.tflite"), "m.tflite")
    assert [operator.kind for operator in subgraph.operators] == ["MEAN"]
    float_file = nets.mobile_net()
    assert with_integer_ends(float_file, "m.tflite") == float_file


def test_what_has_integer_ends_stays() -> None:
    content = converted("int8", "int8")
    assert with_integer_ends(content, "m.tflite") == content


def test_sixteen_bits_are_named() -> None:
    """As TensorFlow's 16x8 quantization writes them; floats at the ends would hide it."""
    content = with_integer_ends(converted(integers="int16"), "m.tflite")
    with pytest.raises(StageError, match="input 'image_int' is int16; the NPU wants") as raised:
        read_quantized(content, "m.tflite")
    assert raised.value.hint is not None and "TFLITE_BUILTINS_INT8" in raised.value.hint


def test_an_image_that_is_also_read_as_floats_is_left() -> None:
    file = ModelFile()
    given = file.tensor("image", (1, 8, 8, 3), "float32", None)
    source = file.tensor("image_int", (1, 8, 8, 3), "int8", IMAGE)
    file.operator("QUANTIZE", 1, [given], source)
    both = file.tensor("both", (1, 8, 8, 3), "float32", None)
    back = file.tensor("back", (1, 8, 8, 3), "float32", None)
    file.operator("DEQUANTIZE", 2, [source], back)
    file.operator("ADD", 1, [given, back], both, schema.AddOptionsT())
    content = file.to_bytes([given], [both], "", {})
    assert with_integer_ends(content, "m.tflite") == content


def test_what_is_no_tflite_is_said() -> None:
    with pytest.raises(StageError, match="not a TFLite model"):
        with_integer_ends(b"synap" * 9, "m.tflite")
