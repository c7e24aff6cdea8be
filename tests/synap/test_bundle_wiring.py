"""Which wirings can be connected."""

import re

import pytest

from pipeline.synap.bundle import Meta, Source, Subgraph, Tensor
from pipeline.synap.bundle_wiring import wiring_faults

Pairs = list[tuple[int, int]]


def sources(pairs: Pairs) -> tuple[Source, ...]:
    return tuple(Source(subgraph=number, out=out) for number, out in pairs)


def subgraph(wiring: Pairs, *, inputs: int | None = None, outputs: int = 1) -> Subgraph:
    count = len(wiring) if inputs is None else inputs
    return Subgraph(
        b"model",
        Meta(
            inputs={f"i{n}": Tensor(shape=(1,)) for n in range(count)},
            outputs={f"o{n}": Tensor(shape=(1,)) for n in range(outputs)},
        ),
        sources(wiring),
    )


@pytest.mark.parametrize(
    ("graph", "sinks"),
    [
        ([subgraph([(-1, 0)])], [(0, 0)]),
        ([subgraph([(-1, 0)]), subgraph([(0, 0)])], [(1, 0)]),
        ([subgraph([(-1, 1), (-1, 0)])], [(0, 0)]),
        ([subgraph([(-1, 0)], outputs=2), subgraph([(0, 1), (-1, 0)])], [(1, 0), (0, 0)]),
    ],
)
def test_what_can_be_connected(graph: list[Subgraph], sinks: Pairs) -> None:
    assert wiring_faults(graph, sources(sinks)) == []


@pytest.mark.parametrize(
    ("graph", "sinks", "said"),
    [
        ([subgraph([(-1, 0)], inputs=2)], [(0, 0)], "2 inputs in its meta and 1 sources"),
        ([subgraph([(0, 0)])], [(0, 0)], "subgraph 0 reads from subgraph 0.*cycle"),
        (
            [subgraph([(1, 0)]), subgraph([(0, 0)])],
            [(1, 0)],
            "subgraph 0 reads from subgraph 1.*cycle",
        ),
        ([subgraph([(7, 0)])], [(0, 0)], "subgraph 7, but there are 1"),
        (
            [subgraph([(-1, 0)]), subgraph([(0, 3)])],
            [(1, 0)],
            "reads output 3 of subgraph 0, which has 1",
        ),
        ([subgraph([(-1, 1)])], [(0, 0)], "nothing reads input 0 of the bundle"),
        ([subgraph([(-1, 0), (-1, 5)])], [(0, 0)], "nothing reads input 1 of the bundle"),
        ([subgraph([(-1, 0)])], [(-1, 0)], "output 0 of the bundle is not an output"),
        ([subgraph([(-1, 0)])], [(0, 1)], "output 1 of subgraph 0, which has 1"),
        ([subgraph([(-1, 0)])], [(2, 0)], "subgraph 2, but there are 1"),
    ],
)
def test_what_cannot(graph: list[Subgraph], sinks: Pairs, said: str) -> None:
    faults = "; ".join(wiring_faults(graph, sources(sinks)))
    assert re.search(said, faults), faults
