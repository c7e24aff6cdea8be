"""Time of the renderings: QDQ ONNX with ONNX Runtime beside TFLite with LiteRT.

One image at a time, as a device works. `python -m benchmarks.inference SUBJECT IMAGES THREADS
LIMIT_GB FOLDER` prints the seconds of one subject, in a process of its own.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.calibration import batches
from benchmarks.inception import MODEL, PREPROCESS

IMAGES = 32
CALIBRATION = 16
"""Photographs; accuracy is not the question here."""
KINDS = {
    "uint8": {"data_type": "uint8", "scheme": "asymmetric_affine"},
    "int8": {"data_type": "int8", "scheme": "perchannel_symmetric_affine"},
}


def prepare(folder: Path, threads: int) -> None:
    """Make both renderings of both kinds, once."""
    from pipeline.artifact import digest_of_path
    from pipeline.graph.file import load_graph, save_graph
    from pipeline.lower.render import render_tflite
    from pipeline.quant.make_plan import make_plan, placement_for
    from pipeline.quant.observe import observe
    from pipeline.quant.qdq import render_qdq
    from pipeline.recipe import Quantize, Ranges

    digest, normalization = digest_of_path(folder / MODEL), PREPROCESS.normalization
    for kind, words in KINDS.items():
        marker = folder / f"{kind}.made"
        if marker.exists() and marker.read_text() == digest:
            continue
        graph, options = load_graph(folder / MODEL), Quantize(**words)  # type: ignore[arg-type]
        tensors = placement_for(graph, options).observed
        seen = observe(graph, tensors, normalization, batches(folder, CALIBRATION, 2), threads)
        plan = make_plan(graph, digest, normalization, seen, options, Ranges(rule="minmax"))
        (folder / f"{kind}.tflite").write_bytes(render_tflite(graph, plan, None))
        render_qdq(graph, plan)
        save_graph(graph, folder / f"{kind}.onnx")
        marker.write_text(digest)


def _timed(format: Any, name: str) -> Callable[[Path, int, int], float]:
    def run(folder: Path, images: int, threads: int) -> float:
        from pipeline.runners import open_runner

        runner = open_runner(format, folder / name, None, threads)
        crops = [np.ascontiguousarray(batch) for batch in batches(folder, images, 1)]
        runner(crops[0])
        start = time.perf_counter()
        for crop in crops:
            runner(crop)
        return time.perf_counter() - start

    return run


SUBJECTS: dict[str, Callable[[Path, int, int], float]] = {
    "float-onnxruntime": _timed("onnx", MODEL),
    **{f"{kind}-onnxruntime": _timed("qdq-onnx", f"{kind}.onnx") for kind in KINDS},
    **{f"{kind}-litert": _timed("tflite", f"{kind}.tflite") for kind in KINDS},
}


def main() -> None:
    subject, images, threads, limit, folder = sys.argv[1:]
    size = int(float(limit) * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    seconds = SUBJECTS[subject](Path(folder), int(images), int(threads))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
