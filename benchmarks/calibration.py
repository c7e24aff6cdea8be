"""One subject of the calibration benchmark, in a process of its own.

`python -m benchmarks.calibration SUBJECT IMAGES THREADS LIMIT_GB FOLDER` prints its seconds.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inception import CROPS, MODEL, PREPROCESS

NORMALIZATION = PREPROCESS.normalization


def batches(folder: Path, images: int, size: int) -> Iterator[np.ndarray]:
    """The crops, read from disk as they are needed. Mapped anew each time, or what was read would
    count as memory of the subject."""
    for start in range(0, images, size):
        yield np.array(np.load(folder / CROPS, mmap_mode="r")[start : min(start + size, images)])


def float_pass(folder: Path, images: int, threads: int) -> float:
    """The unit: running the float model once over the images, without loading it."""
    from pipeline.runners.onnx import make_session

    session = make_session(folder / MODEL, threads)
    session.run(None, {"input": NORMALIZATION.apply(next(batches(folder, 1, 1)))})
    start = time.perf_counter()
    for crops in batches(folder, images, 4):
        session.run(None, {"input": NORMALIZATION.apply(crops)})
    return time.perf_counter() - start


def ours(folder: Path, images: int, threads: int) -> float:
    """Loading, the calibration pass, and the ranges of all tensors by all rules.

    Libraries are imported beforehand, as the peers' are.
    """
    import onnx_ir  # noqa: F401
    import onnxruntime  # noqa: F401
    import scipy.special  # noqa: F401

    from pipeline.graph.file import load_graph
    from pipeline.quant.make_plan import placement_for
    from pipeline.quant.observe import batch_size, observe
    from pipeline.quant.rules import RULES
    from pipeline.quant.scheme import UINT8
    from pipeline.recipe import Quantize, Ranges

    start = time.perf_counter()
    graph = load_graph(folder / MODEL)
    tensors = placement_for(graph, Quantize()).observed
    crops = batches(folder, images, batch_size(graph, tensors))
    seen = observe(graph, tensors, NORMALIZATION, crops, threads)
    for rule in RULES.values():
        for histogram in seen.values():
            rule(histogram, Ranges(), UINT8)
    return time.perf_counter() - start


def ours_quantize(folder: Path, images: int, threads: int) -> float:
    """From the float file to the QDQ file, with least-squares ranges and weights."""
    import onnx_ir  # noqa: F401
    import onnxruntime  # noqa: F401

    from pipeline.graph.file import load_graph, save_graph
    from pipeline.quant.make_plan import make_plan, placement_for
    from pipeline.quant.observe import batch_size, observe
    from pipeline.quant.qdq import render_qdq
    from pipeline.recipe import Quantize, Ranges

    start = time.perf_counter()
    graph = load_graph(folder / MODEL)
    tensors = placement_for(graph, Quantize()).observed
    crops = batches(folder, images, batch_size(graph, tensors))
    seen = observe(graph, tensors, NORMALIZATION, crops, threads)
    render_qdq(graph, make_plan(graph, "0" * 64, NORMALIZATION, seen, Quantize(), Ranges()))
    save_graph(graph, folder / "ours.onnx")
    return time.perf_counter() - start


class _Reader:
    """onnxruntime's calibration reader: one image at a time."""

    def __init__(self, folder: Path, images: int) -> None:
        self._crops = batches(folder, images, 1)

    def get_next(self) -> dict[str, Any] | None:
        crops = next(self._crops, None)
        return None if crops is None else {"input": NORMALIZATION.apply(crops)}


def _quantize_static(method: str) -> Callable[[Path, int, int], float]:
    def run(folder: Path, images: int, threads: int) -> float:
        import onnxruntime
        from onnxruntime.quantization import (
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        # The peer makes sessions of its own; it is told the threads where it makes them.
        make = onnxruntime.InferenceSession

        def limited(path: Any, sess_options: Any = None, **rest: Any) -> Any:
            options = sess_options or onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            return make(path, sess_options=options, **rest)

        onnxruntime.InferenceSession = limited
        start = time.perf_counter()
        quantize_static(
            str(folder / MODEL),
            str(folder / f"{method}.onnx"),
            _Reader(folder, images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod[method],
        )
        return time.perf_counter() - start

    return run


def nncf(folder: Path, images: int, threads: int) -> float:
    """NNCF's defaults, where it is installed."""
    import nncf as library
    import onnx

    data = [NORMALIZATION.apply(crops) for crops in batches(folder, images, 1)]
    start = time.perf_counter()
    dataset = library.Dataset(data, lambda item: {"input": item})
    model = library.quantize(onnx.load(folder / MODEL), dataset, subset_size=images)
    onnx.save(model, folder / "nncf.onnx")
    return time.perf_counter() - start


SUBJECTS: dict[str, Callable[[Path, int, int], float]] = {
    "float": float_pass,
    "ours": ours,
    "ours-quantize": ours_quantize,
    "onnxruntime-minmax": _quantize_static("MinMax"),
    "onnxruntime-percentile": _quantize_static("Percentile"),
    "nncf": nncf,
}


def main() -> None:
    subject, images, threads, limit, folder = sys.argv[1:]
    size = int(float(limit) * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    seconds = SUBJECTS[subject](Path(folder), int(images), int(threads))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
