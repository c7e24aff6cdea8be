"""A TFLite file that somebody else quantized: what has to hold for SyNAP to take it as it is."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.graph.input_side import GREY
from pipeline.inspect.content import Damaged
from pipeline.inspect.schemes import Grid
from pipeline.inspect.tflite_model import TfliteTensor, read_tflite
from pipeline.lift.subgraph import Subgraph, read_subgraph
from pipeline.quant.input_fit import misfits

INTEGERS = ("uint8", "int8")
AGAIN = (
    "convert it again with supported_ops TFLITE_BUILTINS_INT8, and inference_input_type and "
    "inference_output_type uint8 or int8; or give the float model"
)
"""To who has the model that the file was made of; words of `tf.lite.TFLiteConverter`."""


@dataclass(frozen=True)
class QuantizedModel:
    """A classifier of integers: the grids of its image and of its scores, the image's height and
    width, the number of classes, and how many operators there are of each kind."""

    input: Grid
    output: Grid
    size: tuple[int, int]
    classes: int
    operators: Mapping[str, int]

    def cautions(self, normalization: Normalization) -> Iterator[str]:
        """What speaks against the file, and against this normalization."""
        if "SHAPE" in self.operators:
            yield (
                "its batch size is free, and SHAPE computes with it, which SyNAP's manual does not "
                "list; a model of one image, such as Keras makes by batch_size=1, does without"
            )
        grid = self.input
        yield from misfits(grid.dtype, grid.scale[0], grid.zero_point[0], normalization)
        yield from self._next_to_bytes(normalization)

    def _next_to_bytes(self, normalization: Normalization) -> Iterator[str]:
        """Boards copy the bytes of pictures where they can; so should who measures the model."""
        scale, zero_point = self.input.scale[0], self.input.zero_point[0]
        lowest = int(np.iinfo(self.input.dtype).min)
        bytes = np.arange(256)[:, None]
        real = (bytes / 255 - np.array(normalization.mean)) / np.array(normalization.std)
        distance = np.abs(np.rint(real / scale) + zero_point - lowest - bytes).max()
        if distance == 1:
            mean, deviation = (zero_point - lowest) / 255, 1 / (255 * scale)
            yield (
                "its input is the picture's bytes to within one by data.preprocess; exactly the bytes, "
                f"as boards copy them, are mean {mean:.6f} and std {deviation:.6f}"
            )


def read_quantized(content: bytes, where: str) -> QuantizedModel:
    """Read what is needed of such a file. Raises StageError where SyNAP, or who measures it, could not
    take it as it is: by tensor or operator, and with what to do."""
    try:
        model = read_tflite(content)
    except Damaged as error:
        raise StageError(f"is not a readable TFLite model: {error}", where=where) from None
    subgraph = read_subgraph(content, where)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise StageError(
            f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one image and one row "
            "of scores are needed",
            where=where,
        )
    image, scores = subgraph.inputs[0].shape, subgraph.outputs[0].shape
    if len(image) != 4 or image[0] != 1 or image[3] != 3:
        raise StageError(
            f"its input is {list(image)}; one image stored as [1, height, width, 3] is needed",
            where=where,
            hint=GREY if image[3:] == (1,) else "",
        )
    classes = math.prod(scores)
    if classes < 2 or scores[-1] != classes:
        raise StageError(f"its output is {list(scores)}; a row of scores is needed", where=where)
    first, last = _grid("input", model.inputs[0], where), _grid("output", model.outputs[0], where)
    _require_integers(subgraph, where)
    return QuantizedModel(
        input=first,
        output=last,
        size=(image[1], image[2]),
        classes=classes,
        operators=model.operators,
    )


def _grid(kind: str, tensor: TfliteTensor, where: str) -> Grid:
    grid = tensor.grid
    if tensor.dtype not in INTEGERS or grid is None:
        lack = " without a scale" if tensor.dtype in INTEGERS else ""
        raise StageError(
            f"its {kind} {tensor.name!r} is {tensor.dtype}{lack}; the NPU wants integers of 8 bits",
            where=where,
            hint=AGAIN,
        )
    ends, scale, zero_point = np.iinfo(tensor.dtype), grid.scale[0], grid.zero_point[0]
    is_grid = 0 < scale < math.inf and ends.min <= zero_point <= ends.max
    if grid.per_channel or not is_grid:
        raise StageError(
            f"the scale and zero point of its {kind} {tensor.name!r} are {scale:g} and {zero_point}, "
            f"which is no {tensor.dtype} grid",
            where=where,
        )
    return grid


def _require_integers(subgraph: Subgraph, where: str) -> None:
    for operator in subgraph.operators:
        place = f"{where}: {subgraph.place_of(operator)}"
        if any(subgraph.tensors[index].dtype.startswith("float") for index in operator.outputs):
            raise StageError(
                "is quantized in part only: this makes floats, which the NPU would run up to 100 "
                "times slower",
                where=place,
                hint=AGAIN,
            )
        if operator.kind.startswith(("CUSTOM", "operator ")):
            raise StageError(
                "is no operator of TFLite's own, so neither LiteRT nor the toolkit knows it",
                where=place,
                hint="convert it again without SELECT_TF_OPS and custom operators",
            )
