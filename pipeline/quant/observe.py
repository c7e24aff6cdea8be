"""The calibration pass: run the float Graph once over the images and watch its tensors.

Every watched tensor becomes an output of the graph; of each batch the exact minimum and maximum
are taken and a subsample of the values is counted into a histogram, then the batch is forgotten.
So memory is that of one batch, whatever the number of images.

A concatenation holds the values of its branches, so it is not copied out again: what is seen of
the branches is counted for it, too. That is a third of Inception V4's activations.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import atomic_path
from pipeline.data.preprocess import Normalization
from pipeline.errors import StageError
from pipeline.graph.canonical import BATCH
from pipeline.graph.session import session_of
from pipeline.quant.histogram import Histogram

if TYPE_CHECKING:
    import onnx_ir as ir
    import onnxruntime

_T = TypeVar("_T")
Ranges = Mapping[str, Histogram]
"""What calibration saw, by tensor name."""

OBSERVE_VERSION = 2
"""Raised whenever the same images would give other ranges."""
SUBSAMPLE = 31
"""Every 31st value of a tensor is counted: a prime, so that it walks through rows, columns and
channels alike. Minimum and maximum are over all values."""
FULL_COUNT = 1 << 13
"""Tensors of at most this many values a batch are counted whole."""
BATCH_MEMORY = 192 << 20
"""Bytes of activations that one batch may hold: three images of Inception V4 at 299. Watching costs
a fifth of the run with one image, a tenth with two; more cost as much in fresh memory."""
LARGEST_BATCH = 16
_ALIGNMENT = 64


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
    branches = _branches(graph, tensors)
    watched = list(dict.fromkeys(leaf for leaves in branches.values() for leaf in leaves))
    histograms = {name: Histogram() for name in tensors}
    with ThreadPoolExecutor(threads) as pool:

        def share(work: Callable[[str], _T], names: Sequence[str]) -> dict[str, _T]:
            """`work` on every name, in as many parts as there are threads."""
            parts = [names[start::threads] for start in range(threads)]
            done = pool.map(lambda part: [(name, work(name)) for name in part], parts)
            return dict(chain.from_iterable(done))

        for batch in run_watched(graph, watched, normalization, batches, threads):
            values = dict(zip(watched, batch, strict=True))
            seen = share(partial(_look, values), watched)
            share(partial(_count, histograms, branches, seen), tensors)
    return histograms


def batch_size(graph: "ir.Model", tensors: Sequence[str]) -> int:
    """How many images a batch may have so that its activations stay within `BATCH_MEMORY`."""
    each = max(activation_bytes(graph, tensors), 1)
    return min(max(BATCH_MEMORY // each, 1), LARGEST_BATCH)


def activation_bytes(graph: "ir.Model", tensors: Sequence[str]) -> int:
    """Bytes that one image takes when these float32 tensors are watched."""
    wanted = {leaf for leaves in _branches(graph, tensors).values() for leaf in leaves}
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
    """Run the graph over batches of crops; of each, the tensors in the order asked for: `[N, ...]`,
    but for those that the model itself puts another axis in front of, as attention does.

    The arrays are overwritten by the next batch.
    """
    outputs = graph.graph.outputs
    kept = list(outputs)
    by_name = {value.name: value for value in _values(graph)}
    input_name = graph.graph.inputs[0].name or ""
    for name in tensors:
        if by_name[name] not in kept and name != input_name:
            outputs.append(by_name[name])
    try:
        session = session_of(graph, threads, spin=False)
    finally:
        while len(outputs) > len(kept):
            outputs.pop()
    turned = _of_another_form(session)
    wanted = [name for name in tensors if name != input_name and name not in turned]
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
        others = [name for name in tensors if name in turned]
        for name in others:
            binding.bind_output(name, "cpu")
        if views or others:  # else only the input is watched
            session.run_with_iobinding(binding)
        made = binding.copy_outputs_to_cpu()[len(views) :] if others else []
        binding.clear_binding_outputs()
        seen = {input_name: images, **views, **dict(zip(others, made, strict=True))}
        yield [seen[name] for name in tensors]


def _of_another_form(session: "onnxruntime.InferenceSession") -> set[str]:
    """Outputs of unknown rank, whose first axis is not known to be the batch alone, or which are
    no real numbers, as a comparison's."""
    return {
        output.name
        for output in session.get_outputs()
        if output.type != "tensor(float)" or not output.shape or output.shape[0] != BATCH
    }


def _buffers(
    session: "onnxruntime.InferenceSession",
    tensors: Sequence[str],
    input_name: str,
    images: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """Memory for a batch of every tensor; one image shows the shape where the graph has none.

    It is one piece, which the system can back with huge pages: many small ones take five times as
    long to be touched first.
    """
    declared = {output.name: output.shape[1:] for output in session.get_outputs()}
    shapes = {name: declared[name] for name in tensors}
    unknown = [name for name in tensors if not all(isinstance(n, int) for n in shapes[name])]
    if unknown:  # an empty list of names would mean all outputs
        one = session.run(unknown, {input_name: images[:1]})
        shapes |= {name: array.shape[1:] for name, array in zip(unknown, one, strict=True)}
    if not tensors:
        return {}
    sizes = [math.prod((len(images), *shapes[name])) for name in tensors]
    ends = np.cumsum([size + -size % _ALIGNMENT for size in sizes])
    pieces = np.split(np.empty(ends[-1], np.float32), ends[:-1])
    return {
        name: piece[:size].reshape(len(images), *shapes[name])
        for name, piece, size in zip(tensors, pieces, sizes, strict=True)
    }


class _Seen(NamedTuple):
    """A batch of a tensor: all values, flat, and every image's bounds."""

    values: NDArray[np.float32]
    minima: NDArray[np.float32]
    maxima: NDArray[np.float32]


def _look(batch: Mapping[str, NDArray[np.float32]], name: str) -> _Seen:
    values = batch[name]
    images = values.reshape(len(values), -1)
    minima, maxima = images.min(axis=1), images.max(axis=1)
    if not (np.isfinite(minima).all() and np.isfinite(maxima).all()):
        raise StageError(
            f"tensor {name} becomes infinite or NaN on the calibration images",
            hint="the float model is broken or its preprocessing is not the declared one",
        )
    return _Seen(values.reshape(-1), minima, maxima)


def _count(
    histograms: Ranges, branches: Mapping[str, Sequence[str]], seen: Mapping[str, _Seen], name: str
) -> None:
    """Add a batch to the tensor's histogram, from what was seen of its branches."""
    parts = [seen[branch] for branch in branches[name]]
    step = 1 if sum(part.values.size for part in parts) <= FULL_COUNT else SUBSAMPLE
    histograms[name].add(
        np.concatenate([part.values[::step] for part in parts]),
        np.min([part.minima for part in parts], axis=0),
        np.max([part.maxima for part in parts], axis=0),
    )


def _branches(graph: "ir.Model", tensors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each tensor those whose values make it up: a concatenation's branches, else itself."""
    by_name = {value.name: value for value in _values(graph)}

    def leaves(value: "ir.Value") -> Iterator[str]:
        node = value.producer()
        if (
            node is None
            or node.op_type != "Concat"
            or value.is_graph_output()
            or any(branch is None or branch.const_value is not None for branch in node.inputs)
        ):
            yield value.name or ""
            return
        for branch in node.inputs:
            assert branch is not None
            yield from leaves(branch)

    return {name: tuple(leaves(by_name[name])) for name in tensors}


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
