"""Whether the subgraphs of a bundle can be connected as it says.

The runtime (`predictor_bundle.cpp`) does not check any of this: it connects tensors by number
and runs the subgraphs in their order. So:

1. a subgraph names a source for each of its inputs, no more and no less;
2. a source is an output, that there is, of an *earlier* subgraph: a later one, or itself, would
   be a cycle or a tensor that is not computed yet;
3. the bundle's own inputs are numbered without gaps;
4. the bundle's outputs are outputs of subgraphs.
"""

from collections.abc import Sequence

from pipeline.synap.bundle import BUNDLE_INPUT, Source, Subgraph


def wiring_faults(subgraphs: Sequence[Subgraph], sinks: Sequence[Source]) -> list[str]:
    """What is wrong, in words; empty where the bundle can be connected."""
    faults: list[str] = []
    own_inputs: set[int] = set()
    for number, subgraph in enumerate(subgraphs):
        wiring = subgraph.wiring
        if len(wiring) != len(subgraph.inputs):  # rule 1
            faults.append(
                f"subgraph {number} has {len(subgraph.inputs)} inputs in its meta and "
                f"{len(wiring)} sources for them in bundle.json"
            )
        for source in wiring:
            if source.subgraph == BUNDLE_INPUT:
                own_inputs.add(source.out)
            elif number <= source.subgraph < len(subgraphs):  # rule 2
                faults.append(
                    f"subgraph {number} reads from subgraph {source.subgraph}, which does not run "
                    "before it: a cycle, or a wrong order"
                )
            else:
                faults += _missing_output(f"subgraph {number} reads", source, subgraphs)
    missing = _first_gap(own_inputs)
    if missing is not None:  # rule 3
        faults.append(
            f"nothing reads input {missing} of the bundle, but something reads a later one"
        )
    for position, sink in enumerate(sinks):
        if sink.subgraph == BUNDLE_INPUT:  # rule 4
            faults.append(f"output {position} of the bundle is not an output of a subgraph")
        else:
            faults += _missing_output(f"output {position} of the bundle is", sink, subgraphs)
    return faults


def _missing_output(reader: str, source: Source, subgraphs: Sequence[Subgraph]) -> list[str]:
    if source.subgraph >= len(subgraphs):
        return [
            f"{reader} an output of subgraph {source.subgraph}, but there are {len(subgraphs)} "
            "subgraphs, numbered from 0"
        ]
    outputs = len(subgraphs[source.subgraph].outputs)
    if source.out >= outputs:
        return [f"{reader} output {source.out} of subgraph {source.subgraph}, which has {outputs}"]
    return []


def _first_gap(numbers: set[int]) -> int | None:
    """The least number below the greatest that is not there."""
    for expected, number in enumerate(sorted(numbers)):
        if number != expected:
            return expected
    return None
