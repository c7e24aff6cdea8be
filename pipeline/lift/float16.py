"""Weights that are kept as float16 and widened by a DEQUANTIZE each, as converters write them."""

from dataclasses import replace

import numpy as np

from pipeline.lift.subgraph import Subgraph


def widen_weights(subgraph: Subgraph) -> Subgraph:
    """The same model with such weights as float32 constants, which they are exactly."""
    tensors, kept = list(subgraph.tensors), []
    for operator in subgraph.operators:
        source = tensors[operator.inputs[0]] if operator.inputs else None
        is_half = source is not None and source.dtype == "float16" and source.values is not None
        if operator.kind != "DEQUANTIZE" or not is_half:
            kept.append(operator)
            continue
        assert source is not None and source.values is not None
        made = tensors[operator.outputs[0]]
        wide = source.values.astype(np.float32)
        tensors[made.index] = replace(made, shape=source.shape, values=wide, is_constant=True)
    return replace(subgraph, tensors=tuple(tensors), operators=tuple(kept))
