"""Which tensor of our Graph each entry of the toolkit's table is about.

An entry's layer is `{operator}_{node}_{number}` (that names carry their operator in front is in the
toolkit's public sources, the number behind in its documentation's example), and our nodes have
short unique names without `_` (canonical.py, rule 5), so nothing is ambiguous. From third parties:
the image is `{input}_{number}`, the result `attach_{operator}_{node}/out0_{number}`, a constant
`Initializer_{name}_{number}`. Layers that the toolkit fused or put in by itself belong to no tensor
of ours; they are listed, never guessed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.inspect.printable import printable
from pipeline.quant.placement import WEIGHT_AXIS
from pipeline.synap.quantization_table import QuantizationTable, TableEntry

if TYPE_CHECKING:
    import onnx_ir as ir

_NODE = re.compile(r"([A-Za-z0-9]+)_([A-Za-z0-9]+)_[0-9]+")
_RESULT = re.compile(r"attach_([A-Za-z0-9]+)_([A-Za-z0-9]+)/out0_[0-9]+")
_FUSED = re.compile(rf"{_NODE.pattern}(_{_NODE.pattern})+")
_IMAGE = re.compile(r"([A-Za-z0-9]+)_[0-9]+")
_CONSTANT = re.compile(r"Initializer_(\w+)_[0-9]+")
_OUT = "out0"


@dataclass(frozen=True)
class Matched:
    """The table in the Graph's own names."""

    activations: Mapping[str, TableEntry]
    """By tensor name."""
    weights: Mapping[str, TableEntry]
    """By initializer name: weights and other constants."""
    biases: Mapping[str, TableEntry]
    """By node name."""
    floats: Mapping[str, str]
    """Nodes that the table says have to stay float, and its word for that."""
    unmatched: tuple[str, ...]
    """Keys that belong to no tensor of the Graph, each with the reason."""


@dataclass
class _Found:
    """Entries by place, as they are found; two that disagree leave the place without any."""

    entries: dict[str, TableEntry] = field(default_factory=dict)
    disputed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: str, entry: TableEntry) -> None:
        before = self.entries.setdefault(place, entry)
        if before.numbers != entry.numbers:
            self.disputed.setdefault(place, [before.key]).append(entry.key)

    def agreed(self) -> dict[str, TableEntry]:
        return {name: one for name, one in self.entries.items() if name not in self.disputed}

    def complaints(self) -> Iterator[str]:
        for place, keys in self.disputed.items():
            yield f"{' and '.join(map(_shown, keys))}: disagree about {place}"


def match_table(table: QuantizationTable, graph: "ir.Model") -> Matched:
    """Find the tensor of every entry; `graph` is the float Graph that was handed over."""
    nodes = {node.name or "": node for node in graph.graph}
    activations, weights, biases = _Found(), _Found(), _Found()
    unmatched: list[str] = []
    for entry in table.entries:
        constant = _CONSTANT.fullmatch(entry.layer)
        if constant and constant[1] in graph.graph.initializers and entry.port in (_OUT, "data"):
            weights.add(constant[1], entry)
            continue
        image = _IMAGE.fullmatch(entry.layer)
        if image and image[1] == graph.graph.inputs[0].name and entry.port == _OUT:
            activations.add(image[1], entry)
            continue
        node = _node_of(entry.layer, nodes)
        if isinstance(node, str):
            unmatched.append(f"{_shown(entry.key)}: {node}")
        elif entry.port == _OUT:
            activations.add(node.outputs[0].name or "", entry)
        elif entry.port == "weight" and (name := _constant_input(node, 1)):
            weights.add(name, entry)
        elif entry.port == "bias" and _constant_input(node, 2):
            biases.add(node.name or "", entry)
        else:
            unmatched.append(f"{_shown(entry.key)}: the node has no {_shown(entry.port)}")
    floats: dict[str, str] = {}
    for layer, word in table.layers.items():
        node = _node_of(layer, nodes)
        if "float" in word and isinstance(node, str):
            unmatched.append(f"{_shown(layer)}, which stays {_shown(word)}: {node}")
        elif "float" in word and not isinstance(node, str):
            floats[node.name or ""] = word
    for found in (activations, weights, biases):
        unmatched.extend(found.complaints())
    return Matched(
        activations.agreed(), weights.agreed(), biases.agreed(), floats, tuple(unmatched)
    )


def _node_of(layer: str, nodes: "Mapping[str, ir.Node]") -> "ir.Node | str":
    """The node a layer's id names, or why there is none."""
    attached = _RESULT.fullmatch(layer)
    named = attached or _NODE.fullmatch(layer)
    if named is None:
        fused = _FUSED.fullmatch(layer)
        return "several layers fused into one" if fused else "not a layer's id as it is known"
    node = nodes.get(named[2])
    if node is None:
        return f"the Graph has no node {named[2]}"
    if node.op_type != named[1]:
        return f"{named[2]} is a {node.op_type}, not a {named[1]}"
    if attached and not node.outputs[0].is_graph_output():
        return f"{named[2]} does not make the model's output"
    return node


def _constant_input(node: "ir.Node", index: int) -> str | None:
    """The initializer that a node with weights has at this input."""
    if node.op_type not in WEIGHT_AXIS or len(node.inputs) <= index:
        return None
    value = node.inputs[index]
    return None if value is None or value.const_value is None else value.name


def _shown(text: str) -> str:
    return printable(text, 80)
