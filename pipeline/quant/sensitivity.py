"""Which layers cost most, and the fewest of them that have to be wider.

Isolated: one layer's weights and result as integers, everything else float; the logits' signal to
noise ratio is what this layer costs by itself. Cumulative: everything quantized; the ratio of a
layer's own result is what the network has lost up to there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.check.metrics import agreement, sqnr_db
from pipeline.quant.candidate import Base, logits_of
from pipeline.quant.observe import run_watched
from pipeline.quant.plan import Plan
from pipeline.recipe import LayerType, Quantize, Ranges

Crops = Sequence[NDArray[np.uint8]]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class LayerCost:
    """What a layer costs, in dB of signal to noise: less is worse, None is no noise at all."""

    layer: str
    isolated_db: float | None
    cumulative_db: float | None


@dataclass(frozen=True)
class Proposal:
    """The layers to widen, and the part of the selection images whose class they leave changed.

    A changed class is counted whether right or wrong before, so the drop is at most this part.
    """

    layers: tuple[str, ...]
    flips: float
    reached: bool


def layer_costs(
    base: Base,
    plan: Plan,
    crops: Crops,
    reference: Logits,
    threads: int,
    done: Callable[[], None],
) -> list[LayerCost]:
    """The cost of every layer whose weights are integers, in graph order; `reference` `[N, C]` are
    the float logits of the crops. `done` is called after each layer, those that stay float too."""
    cumulative = _cumulative(base, plan, crops, threads)
    costs = []
    for layer, (weight, result) in base.layers.items():
        if weight not in plan.weights:  # float16: it costs nothing here
            done()
            continue
        alone = plan.model_copy(
            update={
                "weights": {weight: plan.weights[weight]},
                "activations": {
                    name: tensor for name, tensor in plan.activations.items() if name == result
                },
                "biases": {},
                "normalization": base.normalization,
            }
        )
        ratio = sqnr_db(logits_of(base.render(alone), alone, crops, threads), reference)
        costs.append(LayerCost(layer, _finite(ratio), cumulative.get(result)))
        done()
    return costs


def propose_layers(
    make_base: Callable[[Quantize], Base],
    options: Quantize,
    rule: Ranges,
    ranked: Sequence[str],
    crops: Crops,
    reference: Logits,
    max_flips: float,
    threads: int,
    done: Callable[[], None],
) -> Proposal:
    """The shortest part of `ranked` (worst first) that as int16 leaves at most `max_flips` of the
    predictions changed, beside the recipe's own `layers`, found by halving; biases corrected in the
    fast way."""

    def flips(count: int) -> float:
        layers: dict[str, LayerType] = dict.fromkeys(ranked[:count], "int16")
        base = make_base(options.model_copy(update={"layers": {**options.layers, **layers}}))
        plan = base.plan(rule, "fast")
        done()
        return 1 - agreement(logits_of(base.render(plan), plan, crops, threads), reference)

    found = flips(0)
    if found <= max_flips:
        return Proposal((), found, reached=True)
    low, high = 0, len(ranked)
    best = flips(high)
    if best > max_flips:
        return Proposal(tuple(ranked), best, reached=False)
    while high - low > 1:
        middle = (low + high) // 2
        left = flips(middle)
        if left <= max_flips:
            high, best = middle, left
        else:
            low = middle
    return Proposal(tuple(ranked[:high]), best, reached=True)


def _cumulative(base: Base, plan: Plan, crops: Crops, threads: int) -> dict[str, float | None]:
    """The ratio at every layer's result, quantized network against float one."""
    results = [
        result
        for _, result in base.layers.values()
        if result in plan.activations and result != list(plan.activations)[-1]
    ]
    float_batches = run_watched(base.graph, results, base.normalization, crops, threads)
    rendered = base.render(plan)
    names = [f"{result}_dequantized" for result in results]
    integer_batches = run_watched(rendered, names, plan.normalization, crops, threads)
    signal, noise = np.zeros(len(results)), np.zeros(len(results))
    for real, integer in zip(float_batches, integer_batches, strict=True):
        for index, (one, other) in enumerate(zip(real, integer, strict=True)):
            signal[index] += float(np.square(one, dtype=np.float64).sum())
            noise[index] += float(np.square(other - one, dtype=np.float64).sum())
    return {
        result: _finite(10 * np.log10(s / n)) if n and s else None
        for result, s, n in zip(results, signal, noise, strict=True)
    }


def _finite(ratio: float) -> float | None:
    return float(ratio) if np.isfinite(ratio) else None
