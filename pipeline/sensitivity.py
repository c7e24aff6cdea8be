"""`pipeline sensitivity`: where a quantized model loses its accuracy, and what would mend it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.preprocess import Preprocess
from pipeline.dependencies import initial_settings
from pipeline.errors import UsageError
from pipeline.job import Job
from pipeline.progress import Progress
from pipeline.recipe import Quantize, Ranges
from pipeline.stages.stage import Settings, Work
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.data.draw import SampleSets
    from pipeline.quant.candidate import Base

BATCH = 4
HALVINGS = 10
"""At most this many mixed models are tried for a proposal (1024 layers)."""


def measure_sensitivity(
    job: Job,
    quantized: Path,
    details: dict[str, Any],
    preprocess: Preprocess,
    samples: "SampleSets",
    images: int,
    max_drop: float | None,
    store: Store,
    progress: Progress,
) -> dict[str, Any]:
    """Costs of all layers of a `quantize` result in the folder `quantized`, and a proposal.

    `details` are what the stage recorded. Raises UsageError where there are no selection images.
    """
    import numpy as np

    from pipeline.quant.plan import load_plan
    from pipeline.quant.sensitivity import layer_costs, propose_layers
    from pipeline.runners import open_runner
    from pipeline.stages.quantize import FLOAT, PLAN, base_for, crops_of

    if samples.selection is None:
        raise UsageError("needs data.selection images", where=str(job.recipe.path))
    settings: Settings = initial_settings(job)
    settings = Settings(settings.recipe, settings.weights, preprocess)
    work = Work(quantized, {}, settings, samples, store, job.threads, progress)
    plan, path = load_plan(quantized / PLAN), quantized / FLOAT
    base = base_for(work, path)
    crops = []
    for batch in crops_of(work, samples.selection, BATCH):
        crops.append(batch)
        if sum(map(len, crops)) >= images:
            break
    runner = open_runner("onnx", path, None, job.threads)
    reference = np.concatenate([runner(batch) for batch in crops])
    count = len(base.layers)
    used = sum(map(len, crops))
    progress.note(
        f"{count} layers on {used} selection images: about {count + 2} runs of the model over them"
        + ("" if max_drop is None else f", and at most {HALVINGS + 2} more for the proposal")
    )
    with progress.bar("measuring layers", count) as bar:
        costs = layer_costs(base, plan, crops, reference, job.threads, bar.advance)
    ranked = sorted(
        (cost for cost in costs if cost.isolated_db is not None),
        key=lambda cost: cost.isolated_db or 0.0,
    )
    result: dict[str, Any] = {"images": used, "layers": [asdict(cost) for cost in costs]}
    if max_drop is not None:
        options = job.recipe.recipe.quantize
        candidates = [cost.layer for cost in ranked if cost.layer not in options.layers]

        def make_base(changed: Quantize) -> "Base":
            return base_for(work, path, changed)

        rule = options.ranges if isinstance(options.ranges, Ranges) else _rule(details)
        with progress.bar("trying wider layers", HALVINGS + 2) as bar:
            proposal = propose_layers(
                make_base, options, rule, candidates, crops, reference, max_drop, job.threads,
                bar.advance,
            )  # fmt: skip
        result["proposal"] = {
            "layers": dict.fromkeys(proposal.layers, "int16"),
            "flips": proposal.flips,
            "reached": proposal.reached,
        }
    return result


def _rule(details: dict[str, Any]) -> Ranges:
    """The rule that `auto` chose, from what the stage recorded."""
    name, _, parameter = str(details["rule"]).partition(" ")
    if parameter:
        return Ranges(rule="percentile", percentile=float(parameter))
    return Ranges.model_validate({"rule": name})
