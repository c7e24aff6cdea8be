"""Have the toolkit compile for the NPU: float Graph, metafile and calibration images.

The toolkit quantizes by itself here, so what was measured on our own integers only predicts the
result. Nothing of this has run on a real toolkit or board yet (docs/synap.md).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import write_text
from pipeline.errors import StageError
from pipeline.progress import Progress
from pipeline.recipe import Quantize
from pipeline.synap.toolkit_find import Toolkit
from pipeline.targets import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "model.onnx"
METAFILE = "metafile.yaml"
DATASET = "calibration"
TIME_LIMIT = 4 * 3600.0
"""Seconds the toolkit may take."""


def build_for_npu(
    *,
    toolkit: Toolkit,
    target: Target,
    graph: Path,
    options: Quantize,
    crops: "Iterable[tuple[NDArray[np.uint8], Any]]",
    folder: Path,
    bundle: str,
    progress: Progress,
) -> Mapping[str, Any]:
    """Write `<folder>/<bundle>` and what belongs to it; `crops` are batches of calibration crops.

    Raises StageError where the toolkit fails or its result is not quantized.
    """
    from PIL import Image

    from pipeline.graph.canonical import fix_batch
    from pipeline.graph.file import load_graph, save_graph
    from pipeline.synap.metafile_check import dump_metafile
    from pipeline.synap.metafile_dataset import check_dataset
    from pipeline.synap.model_info import read_model_info
    from pipeline.synap.toolkit_run import run_toolkit

    model = load_graph(graph)
    metafile = _metafile(model, options, str(graph))
    fix_batch(model, 1)
    save_graph(model, folder / MODEL)
    (folder / DATASET).mkdir()
    count = 0
    for batch, _ in crops:
        for crop in batch:
            Image.fromarray(crop).save(folder / DATASET / f"{count:05}.png")
            count += 1
    write_text(folder / METAFILE, dump_metafile(metafile, "onnx"))
    check_dataset(metafile, folder, "onnx")
    done = run_toolkit(
        toolkit,
        folder,
        folder / MODEL,
        folder / METAFILE,
        target,
        timeout=TIME_LIMIT,
        log_path=folder / "toolkit.log",
        progress=progress,
    )
    listing = next((path for path in done.listings if path.name == "model_info.txt"), None)
    info = None if listing is None else read_model_info(listing)
    if info is None or not info.is_quantized:
        raise StageError(
            "the toolkit's listing shows no quantized tensor: the model came out as float, up to "
            "100 times slower on the NPU",
            where=str(target.toolkit_name),
        )
    done.model.replace(folder / bundle)
    return {"calibration_images": count, "toolkit_version": info.version}


def _metafile(model: Any, options: Quantize, where: str) -> Any:
    from pipeline.graph.file import class_count, input_size, preprocess_in
    from pipeline.synap.metafile import Quantization, classifier_metafile

    normalization = preprocess_in(model, where)
    if len(set(normalization.std)) != 1:
        raise StageError(
            f"SyNAP knows one scale for all channels, but std is {list(normalization.std)}",
            where=where,
        )
    return classifier_metafile(
        means=[round(255 * mean, 6) for mean in normalization.mean],
        scale=round(255 * normalization.std[0], 6),
        input_name=model.graph.inputs[0].name,
        input_shape=(1, 3, *input_size(model, where)),
        output_name=model.graph.outputs[0].name,
        output_shape=(1, class_count(model, where)),
        quantization=Quantization(
            dataset=(f"{DATASET}/*.png",),
            data_type=options.data_type,
            scheme=options.scheme,
        ),
    )
