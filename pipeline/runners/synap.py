"""Run a `.synap` bundle from its own bytes: a CPU subgraph with ONNX Runtime.

It does what SyNAP's runtime does with the bundle's own meta: `(byte - mean[c]) / scale`, then the
model inside. An NPU subgraph cannot be run here.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.runners.fit import require_fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.synap.bundle import Subgraph


REBUILD = "its model and its meta do not belong together: make the bundle anew"


class SynapRunner:
    """A bundle of one ONNX subgraph for the CPU delegate, one image at a time."""

    def __init__(self, path: Path, threads: int) -> None:
        from pipeline.runners.onnx import make_session

        self._where = str(path)
        subgraph = cpu_subgraph(path)
        image = subgraph.inputs[0]
        if image.mean is None or image.scale is None or image.format != "nchw":
            raise StageError("its input has no mean, scale or nchw format", where=str(path))
        self._mean, self._scale = image.mean, image.scale
        self._shape = image.shape
        self._session = make_session(subgraph.model, threads, where=str(path))
        self._input = self._session.get_inputs()[0].name

    def __call__(self, crops: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np

        from pipeline.runners.onnx import run_session

        _, height, width, channels = crops.shape
        require_fit(self._shape[1:], (channels, height, width), self._where)
        mean = np.array(self._mean, np.float32)
        rows = []
        for crop in crops:
            image = (crop.astype(np.float32) - mean) / np.float32(self._scale)
            tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
            scores = run_session(self._session, {self._input: tensor}, self._where, REBUILD)
            rows.append(scores.reshape(-1))
        return np.stack(rows)


def cpu_subgraph(path: Path) -> "Subgraph":
    """The only subgraph of a bundle. Raises StageError where it is not one for the CPU delegate."""
    from pipeline.synap.bundle_read import read_bundle

    bundle = read_bundle(path)
    if bundle.delegates != ("cpu",):
        raise StageError(
            f"runs on {', '.join(bundle.delegates)}; only a bundle of one CPU subgraph can be "
            "run here",
            where=str(path),
        )
    return bundle.subgraphs[0]


def open_synap(path: Path, normalization: Normalization | None, threads: int) -> SynapRunner:
    """Open a bundle; how it normalises stands in its own meta."""
    return SynapRunner(path, threads)
