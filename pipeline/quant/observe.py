"""The calibration pass: run the float Graph once over the images and watch its tensors.

Every watched tensor becomes an output of the graph; of each batch the exact minimum and maximum
are taken and a subsample of the values is counted into a histogram, then the batch is forgotten.
So memory is that of one batch, whatever the number of images.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import atomic_path
from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.quant.histogram import Histogram

if TYPE_CHECKING:
    import onnx_ir as ir
    import onnxruntime

Ranges = Mapping[str, Histogram]
"""What calibration saw, by tensor name."""

OBSERVE_VERSION = 1
"""Raised whenever the same images would give other ranges."""
SUBSAMPLE = 31
"""Every 31st value of a tensor is counted: a prime, so that it walks through rows, columns and
channels alike. Minimum and maximum are over all values."""
FULL_COUNT = 1 << 13
"""Tensors of at most this many values a batch are counted whole."""
BATCH_MEMORY = 128 << 20
"""Bytes of activations that one batch may hold."""
LARGEST_BATCH = 16


def observe(
    graph: "ir.Model",
    tensors: Sequence[str],
    normalization: Normalization,
    batches: Iterable[NDArray[np.uint8]],
    threads: int,
) -> Ranges:
    """Watch `tensors` while `graph` runs over batches of crops `uint8 [N, H, W, 3]`.

    Raises StageError if a tensor becomes infinite or NaN. The graph is left as it was.
    """
    histograms = {name: Histogram() for name in tensors}
    with ThreadPoolExecutor(threads) as pool:
        for batch in run_watched(graph, tensors, normalization, batches, threads):
            # Counting releases the interpreter's lock, and every tensor has a histogram of its own.
            list(pool.map(_count, tensors, histograms.values(), batch))
    return histograms


def batch_size(graph: "ir.Model", tensors: Sequence[str]) -> int:
    """How many images a batch may have so that its activations stay within `BATCH_MEMORY`."""
    each = max(activation_bytes(graph, tensors), 1)
    return min(max(BATCH_MEMORY // each, 1), LARGEST_BATCH)


def activation_bytes(graph: "ir.Model", tensors: Sequence[str]) -> int:
    """Bytes of the watched float32 tensors for one image."""
    wanted = set(tensors)
    total = 0
    for value in _values(graph):
        if value.name in wanted and value.shape is not None:
            sizes = [size for size in value.shape[1:] if isinstance(size, int)]
            total += 4 * int(np.prod(sizes))
    return total


def run_watched(
    graph: "ir.Model",
    tensors: Sequence[str],
    normalization: Normalization,
    batches: Iterable[NDArray[np.uint8]],
    threads: int,
) -> Iterator[list[NDArray[np.float32]]]:
    """Run the graph over batches of crops; of each, the tensors `[N, ...]` in the order asked for.

    The arrays are overwritten by the next batch.
    """
    import onnx_ir as ir

    from pipeline.runners.onnx import make_session

    outputs = graph.graph.outputs
    kept = list(outputs)
    by_name = {value.name: value for value in _values(graph)}
    input_name = graph.graph.inputs[0].name or ""
    for name in tensors:
        if by_name[name] not in kept and name != input_name:
            outputs.append(by_name[name])
    try:
        session = make_session(ir.to_proto(graph).SerializeToString(), threads, spin=False)
    finally:
        while len(outputs) > len(kept):
            outputs.pop()
    wanted = [name for name in tensors if name != input_name]
    buffers: dict[str, NDArray[np.float32]] = {}
    rows = 0
    binding = session.io_binding()
    for crops in batches:
        images = normalization.apply(crops)
        if len(images) > rows:
            rows = len(images)
            buffers = _buffers(session, wanted, input_name, images)
        # The same memory every time: fresh pages for 100 MB an image cost more than counting them.
        binding.bind_cpu_input(input_name, images)
        views = {name: buffer[: len(images)] for name, buffer in buffers.items()}
        for name, view in views.items():
            binding.bind_output(name, "cpu", 0, np.float32, view.shape, view.ctypes.data)
        if views:  # else only the input is watched
            session.run_with_iobinding(binding)
        yield [images if name == input_name else views[name] for name in tensors]


def _buffers(
    session: "onnxruntime.InferenceSession",
    tensors: Sequence[str],
    input_name: str,
    images: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """Memory for a batch of every tensor, shaped as one image shows."""
    if not tensors:
        return {}  # an empty list of names would mean all outputs
    one = session.run(tensors, {input_name: images[:1]})
    return {
        name: np.empty((len(images), *array.shape[1:]), np.float32)
        for name, array in zip(tensors, one, strict=True)
    }


def _count(name: str, histogram: Histogram, values: NDArray[np.float32]) -> None:
    images = values.reshape(len(values), -1)
    minima, maxima = images.min(axis=1), images.max(axis=1)
    if not (np.isfinite(minima).all() and np.isfinite(maxima).all()):
        raise StageError(
            f"tensor {name} becomes infinite or NaN on the calibration images",
            hint="the float model is broken or its preprocessing is not the declared one",
        )
    flat = values.reshape(-1)
    counted = flat if flat.size <= FULL_COUNT else flat[::SUBSAMPLE]
    histogram.add(counted, minima, maxima)


def _values(graph: "ir.Model") -> "list[ir.Value]":
    made = [output for node in graph.graph for output in node.outputs]
    return [*graph.graph.inputs, *made]


def save_ranges(ranges: Ranges, path: Path) -> None:
    """Write ranges as arrays, one row a tensor."""
    seen = ranges.values()
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            names=np.array(list(ranges)),
            bounds=np.array(
                [(h.minimum, h.maximum, h.average_minimum, h.average_maximum) for h in seen]
            ),
            bins=np.array([(h.exponent, h.first, h.zeros) for h in seen], np.int64),
            counts=np.array([h.counts for h in seen], np.int64),
        )


def load_ranges(path: Path) -> Ranges:
    """Read what `save_ranges` wrote."""
    with np.load(path, allow_pickle=False) as data:
        columns = [data[name] for name in ("names", "bounds", "bins", "counts")]
    seen: dict[str, Histogram] = {}
    for name, bounds, bins, counts in zip(*columns, strict=True):
        low, high, average_low, average_high = (float(bound) for bound in bounds)
        exponent, first, zeros = (int(value) for value in bins)
        seen[str(name)] = Histogram(
            low, high, average_low, average_high, zeros, exponent, first, counts
        )
    return seen
