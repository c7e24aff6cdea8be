"""Put into one folder what the toolkit is given: the model, its metafile, calibration images.

Two ways. `tflite`: the integer model that was measured, which the toolkit does not quantize
again. `onnx`: the float Graph with calibration images and the scheme, which it quantizes by
itself.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import write_text
from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.recipe import Compile, Quantize
from pipeline.synap.metafile import (
    Input,
    Metafile,
    ModelFormat,
    Output,
    Preprocess,
    Quantization,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.inspect.schemes import Grid
    from pipeline.inspect.tflite_model import TfliteTensor


TFLITE = "model.tflite"
ONNX = "model.onnx"
METAFILE = "metafile.yaml"
DATASET = "calibration"


@dataclass(frozen=True)
class Handed:
    """What lies in the folder."""

    model: str
    """Name of the model's file."""
    format: ModelFormat
    metafile: Metafile
    by_toolkit: bool
    """Whether the toolkit is to quantize the model."""
    size: tuple[int, int]
    """Height and width of the input."""
    classes: int
    ends: "tuple[Grid, Grid] | None" = None
    """The integers of input and output, of a model that is not quantized again."""


def hand_over_tflite(
    folder: Path, tflite: Path, normalization: Normalization, options: Compile, own: Path | None
) -> Handed:
    """The integer TFLite; `normalization` is how it was measured, `own` a metafile of the user's."""
    shutil.copyfile(tflite, folder / TFLITE)
    generated = Metafile(
        delegate="npu",
        inputs=(_image(normalization, options),),
        outputs=(_scores(options),),
    )
    image, scores = _ends(tflite)
    assert image.grid is not None and scores.grid is not None, "_ends saw to it"
    metafile = _write(folder, generated, own, "tflite", image.grid)
    height, width, classes = map(int, (*image.shape[1:3], scores.shape[-1]))
    return Handed(
        TFLITE,
        "tflite",
        metafile,
        by_toolkit=False,
        size=(height, width),
        classes=classes,
        ends=(image.grid, scores.grid),
    )


def _ends(tflite: Path) -> "tuple[TfliteTensor, TfliteTensor]":
    """The file's image `[1, H, W, C]` and scores `[1, N]`, both quantized."""
    from pipeline.inspect.content import Damaged
    from pipeline.inspect.tflite_model import read_tflite

    try:
        model = read_tflite(tflite.read_bytes())
    except Damaged as error:
        raise StageError(f"is not a readable TFLite model: {error}", where=str(tflite)) from None
    ends = (*model.inputs, *model.outputs)
    if len(ends) != 2 or any(tensor.grid is None for tensor in ends):
        raise StageError("is not quantized from one input to one output", where=str(tflite))
    image, scores = ends
    if len(image.shape) != 4 or not scores.shape or "?" in (*image.shape[1:], scores.shape[-1]):
        shapes = f"{list(image.shape)} and {list(scores.shape)}"
        raise StageError(f"is not from an image to a row of scores: {shapes}", where=str(tflite))
    return image, scores


def hand_over_onnx(
    folder: Path,
    graph: Path,
    quantize: Quantize,
    crops: "Iterable[tuple[NDArray[np.uint8], Any]]",
    options: Compile,
    own: Path | None,
) -> Handed:
    """The float Graph, and calibration crops as PNG of exactly the input's size."""
    from PIL import Image

    from pipeline.graph.canonical import fix_batch
    from pipeline.graph.file import (
        class_count,
        input_size,
        load_graph,
        preprocess_in,
        save_graph,
    )
    from pipeline.synap.metafile_dataset import check_dataset

    where = str(graph)
    model = load_graph(graph)
    size, classes = input_size(model, where), class_count(model, where)
    image = _image(preprocess_in(model, where).normalization, options).model_copy(
        update={"name": model.graph.inputs[0].name, "shape": (1, 3, *size)}
    )
    scores = _scores(options).model_copy(
        update={"name": model.graph.outputs[0].name, "shape": (1, classes)}
    )
    base = quantize.data_type
    generated = Metafile(
        delegate="npu",
        inputs=(image,),
        outputs=(scores,),
        quantization=Quantization(
            dataset=(f"{DATASET}/*.png",),
            data_type={"*": base, **quantize.layers} if quantize.layers else base,
            scheme=quantize.scheme,
        ),
    )
    fix_batch(model, 1)
    save_graph(model, folder / ONNX)
    (folder / DATASET).mkdir()
    count = 0
    for batch, _ in crops:
        for crop in batch:
            Image.fromarray(crop).save(folder / DATASET / f"{count:05}.png")
            count += 1
    metafile = _write(folder, generated, own, "onnx", None)
    check_dataset(metafile, folder, "onnx")
    return Handed(ONNX, "onnx", metafile, by_toolkit=True, size=size, classes=classes)


def _image(normalization: Normalization, options: Compile) -> Input:
    """The input, its means and scale in byte units."""
    if len(set(normalization.std)) != 1:
        raise StageError(
            f"SyNAP knows one scale for all channels, but std is {list(normalization.std)}",
            hint="the equalize stage folds unequal ones into the first convolution",
        )
    given = options.preprocess
    return Input(
        # Rounded to a millionth of a grey level: 255 * (127 / 255) is to be 127.
        means=tuple(round(255 * mean, 6) for mean in normalization.mean),
        scale=round(255 * normalization.std[0], 6),
        format="rgb",
        preprocess=None if given is None else Preprocess.model_validate(given.model_dump()),
    )


def _scores(options: Compile) -> Output:
    return Output(format=options.output_format, dequantize=options.dequantize_outputs)


def _write(
    folder: Path, generated: Metafile, own: Path | None, format: ModelFormat, grid: "Grid | None"
) -> Metafile:
    """Write the user's metafile as it is, or else the generated one; both keep all rules, and are
    about the same picture. `grid` are the integers of the model's input."""
    from pipeline.synap.metafile_check import dump_metafile
    from pipeline.synap.metafile_read import load_metafile
    from pipeline.synap.own_metafile import require_same_picture

    if own is None:
        write_text(folder / METAFILE, dump_metafile(generated, format))
        return generated
    metafile = load_metafile(own, format)
    assert generated.inputs is not None
    require_same_picture(own, metafile, generated.inputs[0], grid)
    shutil.copyfile(own, folder / METAFILE)
    return metafile
