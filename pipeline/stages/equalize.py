"""`equalize`: the same function with ranges that are easier to quantize, proved to be the same."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.recipe import Equalize
from pipeline.stages.stage import Settings, Stage, Work

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from pipeline.data.samples import Samples

GRAPH = "model.onnx"


def _options(settings: Settings) -> Mapping[str, Any]:
    options = settings.recipe.recipe.equalize
    assert options is not None, "the chain has this stage only where the recipe has the section"
    return {
        "equalize": options.model_dump(mode="json"),
        "preprocess": settings.model_input.model_dump(mode="json"),
    }


def _make(work: Work) -> Mapping[str, Any]:
    from pipeline.graph.file import load_graph, save_graph

    options = work.settings.recipe.recipe.equalize
    assert options is not None
    graph = load_graph(work.taken["graph"])
    rewrites = _rewrite(work, graph, options)
    save_graph(graph, work.folder / GRAPH)
    return {**rewrites, **_prove(work, options)}


def _rewrite(work: Work, graph: "ir.Model", options: Equalize) -> dict[str, Any]:
    """Apply the rewrites in place; what each of them changed."""
    import numpy as np

    from pipeline.graph.file import preprocess_in, set_preprocess
    from pipeline.quant.equalize.channels import observe_channels
    from pipeline.quant.equalize.coupling import find_couplings
    from pipeline.quant.equalize.cross_layer import equalize_layers
    from pipeline.quant.equalize.dead_channels import remove_dead_channels
    from pipeline.quant.equalize.high_bias import absorb_high_biases
    from pipeline.quant.equalize.input_std import fold_input_std
    from pipeline.quant.equalize.weights import Weights
    from pipeline.quant.observe import batch_size

    couplings = find_couplings(graph.graph)
    tensors = sorted({p.tensor for coupling in couplings for p in coupling.passages})
    preprocess = preprocess_in(graph, "the Graph")
    ranges = {}
    if tensors:
        crops = _crops(
            work, work.samples.calibration, batch_size(graph, tensors), "watching channels"
        )
        ranges = observe_channels(graph, tensors, preprocess.normalization, crops, work.threads)
    weights = Weights(graph.graph)
    done: dict[str, Any] = {"couplings": len(couplings)}
    if options.dead_channels:
        done["dead_channels"] = remove_dead_channels(couplings, weights, ranges)
    if options.cross_layer:
        scales = equalize_layers(couplings, weights, ranges)
        done["largest_scale"] = max(
            (float(np.exp(np.abs(np.log(scale)).max())) for scale in scales.values()), default=1.0
        )
    if options.high_bias:
        done["high_biases"] = absorb_high_biases(couplings, weights, ranges)
    folded = fold_input_std(graph.graph, weights, preprocess.normalization)
    weights.write_back()
    set_preprocess(graph, preprocess.with_normalization(folded))
    return done


def _prove(work: Work, options: Equalize) -> dict[str, Any]:
    """Hold the new Graph against the old: on the images it was made with, and on others."""
    import numpy as np

    from pipeline.check.metrics import agreement, max_abs_error, sqnr_db

    before, after = work.taken["graph"], work.folder / GRAPH
    calibration = [_logits(work, path, work.samples.calibration) for path in (before, after)]
    error = max_abs_error(calibration[1], calibration[0])
    largest = float(np.abs(calibration[0]).max())
    proof: dict[str, Any] = {"calibration_logit_error": error, "largest_logit": largest}
    if not error <= options.max_calibration_error * largest:
        raise StageError(
            f"a logit changed by {error:.3g} on the calibration images, where the largest is "
            f"{largest:.3g}: the rewrites did not keep the function",
            where="equalize",
            hint="raise equalize.max_calibration_error, or leave the stage out with `equalize: null`",
        )
    if work.samples.selection is not None:
        others = [_logits(work, path, work.samples.selection) for path in (before, after)]
        ratio = sqnr_db(others[1], others[0])
        proof["selection_agreement"] = agreement(others[1], others[0])
        proof["selection_sqnr_db"] = ratio if np.isfinite(ratio) else None
    return proof


def _logits(work: Work, path: Any, samples: "Samples") -> "NDArray[np.float32]":
    import numpy as np

    from pipeline.runners import open_runner

    runner = open_runner("onnx", path, None, work.threads)
    return np.concatenate([runner(crops) for crops in _crops(work, samples, 16, "proving")])


def _crops(work: Work, samples: "Samples", size: int, text: str) -> "Iterator[NDArray[np.uint8]]":
    with work.progress.bar(text, len(samples)) as bar:
        for crops, _ in samples.crops(work.settings.model_input, size, workers=work.threads):
            yield crops
            bar.advance(len(crops))


STAGE = Stage(
    name="equalize",
    version=2,
    takes=("graph",),
    gives={"equalized": GRAPH},
    artifact="equalized",
    format="onnx",
    options=_options,
    make=_make,
    samples=("calibration", "selection"),
    tools=("onnxruntime", "onnx", "onnx_ir", "numpy", "pillow"),
)
