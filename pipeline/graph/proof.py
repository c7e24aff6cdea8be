"""Proof that a Graph computes what the model it was made from computes: both are run.

The pictures are seeded noise of several kinds, so the proof belongs to the file and needs no data:
even noise, smooth blotches and a flat grey. The Graph is given all of them at once and one at a
time, which proves the free batch as well.
"""

from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.foreign import Came

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    import onnxruntime
    from numpy.typing import NDArray

TOLERANCE = 1e-3
"""Largest difference of a logit, as a part of the largest logit. Reordered float32 sums come to
about a hundredth of it."""
HALF_TOLERANCE = 3e-2
"""The same for models in half precision, whose own results are rounded to 11 bits or fewer."""


def prove(
    original: "ir.Model",
    came: Came,
    preprocess: Preprocess,
    graph: "ir.Model",
    threads: int,
    where: str,
) -> dict[str, Any]:
    """Hold the canonical `graph` to the ONNX model it was made from; the difference, as details of a
    stage.

    `preprocess` is how the original is fed. Raises StageError as `require_same` does.
    """
    crops = pictures(preprocess.size)
    expected = original_logits(original, came, preprocess, crops, threads, where=where)
    tolerance = HALF_TOLERANCE if came.is_half else TOLERANCE
    return require_same(
        graph, crops, expected, threads, where, tolerance=tolerance, made_for=came.batch
    )


def require_same(
    graph: "ir.Model",
    crops: "NDArray[np.uint8]",
    expected: "NDArray[np.float32]",
    threads: int,
    where: str,
    *,
    tolerance: float = TOLERANCE,
    made_for: int | None = None,
) -> dict[str, Any]:
    """The largest difference between a Graph's logits for these crops and those of the model it was
    made from, as details of a stage.

    The Graph declares its own preprocessing; `made_for` is the batch size that the model was exported
    for, if it was for one. Raises StageError, which names `where`, where the Graph cannot be run or
    the difference is beyond the tolerance.
    """
    import numpy as np

    from pipeline.graph.file import preprocess_in
    from pipeline.graph.session import session_of

    if not np.isfinite(expected).all():
        raise StageError(
            "gives logits that are not finite, as it came",
            where=where,
            hint="its weights overflow or are damaged: run it where it was trained",
        )
    session = session_of(graph, threads, where=where)
    images = preprocess_in(graph, where).normalization.apply(crops)
    single = np.concatenate([_run(session, images[i : i + 1], where) for i in range(len(images))])
    together = run_together(session, images, where, made_for)
    for made in (together, single):
        if made.shape != expected.shape:
            raise StageError(
                f"the Graph gives logits of shape {made.shape}, the model {expected.shape}",
                where=where,
            )
    largest = float(np.abs(expected).max())
    error = max(float(np.abs(made - expected).max()) for made in (together, single))
    if not error <= tolerance * largest + 1e-6:  # not a number is too much as well
        raise StageError(
            f"the Graph is not the same function: a logit differs by {error:.3g}, and the largest is "
            f"{largest:.3g}",
            where=where,
            hint="this is a fault of the pipeline; please report it with the model's operators",
        )
    return {"pictures": len(crops), "largest_difference": error, "largest_logit": largest}


def run_together(
    session: "onnxruntime.InferenceSession",
    images: "NDArray[np.float32]",
    where: str,
    made_for: int | None,
) -> "NDArray[np.float32]":
    """The logits for all of these images at once. Raises StageError as `require_same` does."""
    try:
        return _run(session, images, where)
    except StageError as failure:
        raise StageError(
            f"it is made for {made_for} images at a time, and others cannot be given: {failure.what}"
            if made_for
            else failure.what,
            where=where,
            hint="export it with a free batch size (in PyTorch: dynamic_axes or dynamic_shapes)",
        ) from failure


def pictures(size: int) -> "NDArray[np.uint8]":
    """Crops `uint8 [4, size, size, 3]`."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (size, size, 3)).astype(np.uint8)
    smooth = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (side, side, 3)).astype(np.uint8)).resize(
                (size, size), Image.Resampling.BILINEAR
            )
        )
        for side in (5, 24)
    ]
    return np.stack([noise, *smooth, np.full((size, size, 3), 117, np.uint8)])


def original_logits(
    original: "ir.Model",
    came: Came,
    preprocess: Preprocess,
    crops: "NDArray[np.uint8]",
    threads: int,
    *,
    where: str = "",
    optimize: bool = True,
) -> "NDArray[np.float32]":
    """The logits `[N, C]` of a model as it came, in the batch size and the layout that it takes.

    Raises StageError, which names `where`, if ONNX Runtime cannot run it.
    """
    import numpy as np
    import onnx_ir as ir

    from pipeline.graph.session import session_of

    graph = original.graph
    values = (*graph.inputs, *(output for node in graph for output in node.outputs))
    [graph.outputs[0]] = [value for value in values if value.name == came.output]
    images = preprocess.normalization.apply(crops)
    if came.channels_last:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    [image] = [value for value in graph.inputs if value.name not in graph.initializers]
    feeds = images.astype(np.float32 if image.dtype is None else image.dtype.numpy())
    if image.dtype == ir.DataType.BFLOAT16:
        raise StageError(f"ONNX Runtime takes no {image.dtype} from outside", where=where)
    size = came.batch or len(feeds)
    session = session_of(original, threads, where=where, optimize=optimize)
    rows = []
    for start in range(0, len(feeds), size):
        part = feeds[start : start + size]
        full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        logits = np.asarray(_run(session, full, where), np.float32)
        rows.append(logits.reshape(size, -1)[: len(part)])
    return np.concatenate(rows)


def _run(
    session: "onnxruntime.InferenceSession", images: "NDArray[Any]", where: str
) -> "NDArray[np.float32]":
    """The first result. Raises StageError where ONNX Runtime fails, as sizes that only show while a
    model runs make it."""
    try:
        logits: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: images})[0]
    except Exception as error:  # ONNX Runtime's errors share no public base class
        reason = str(error).splitlines()[0]
        raise StageError(f"ONNX Runtime cannot run it: {reason}", where=where) from error
    return logits
