"""Read of an ONNX file what describes it, and leave its weights where they are.

Field numbers from `onnx.proto` (ONNX 1.19), proto2: a scalar given twice is the last one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.inspect.content import Damaged
from pipeline.inspect.onnx_tensor import (
    MAX_NUMBERS,
    MAX_RANK,
    Constant,
    numbers_in,
    read_tensor,
    type_name,
)
from pipeline.inspect.printable import printable
from pipeline.inspect.protobuf import Span, Wire, block, number

MAX_NODES = 200_000
"""Nodes of all graphs, initializers, and inputs or outputs."""
MAX_KINDS = 1_000
MAX_ALL_NUMBERS = 2_000_000
MAX_METADATA = 1 << 16
"""Bytes that are read of one text in the metadata."""
_MAX_DEPTH = 16
"""Graphs within graphs."""


@dataclass(frozen=True)
class Value:
    """An input or output of the graph."""

    name: bytes
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Node:
    """An operator: its name with its domain, and the names of its tensors."""

    operator: str
    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]


@dataclass
class OnnxGraph:
    """What was read; filled by `read_onnx`. Names are bytes, as they stand in the file."""

    wire: Wire
    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    producer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    functions: int = 0
    nested: int = 0
    """Graphs within nodes."""
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    """Of the main graph."""
    constants: dict[bytes, Constant] = field(default_factory=dict)
    """Of the main graph."""
    operators: Counter[str] = field(default_factory=Counter)
    """Of all graphs."""
    parameters: Counter[str] = field(default_factory=Counter)
    """How many numbers the initializers of all graphs have, by type."""
    external: list[str] = field(default_factory=list)
    """The files that hold initializers."""
    _numbers: int = 0
    _node_count: int = 0

    def numbers_of(self, name: bytes) -> tuple[int | float, ...] | None:
        """The values of a small constant, None where they cannot be had from this file."""
        constant = self.constants.get(name)
        if constant is None or constant.external is not None or constant.count > MAX_NUMBERS:
            return None
        values = numbers_in(self.wire, constant)
        if values is None or len(values) != constant.count:
            return None
        self._numbers += len(values)
        if self._numbers > MAX_ALL_NUMBERS:
            raise Damaged(f"it has more than {MAX_ALL_NUMBERS} scales and zero points")
        return values


def read_onnx(content: bytes) -> OnnxGraph:
    """Read a model. Raises Damaged where it is none."""
    graph = OnnxGraph(Wire(content))
    main: Span | None = None
    for key, value in graph.wire.fields(graph.wire.whole):
        if key == 1:
            graph.ir_version = number(value)
        elif key == 2:
            graph.producer = printable(graph.wire.bytes_of(value))
        elif key == 7:
            if main is not None:
                raise Damaged("it has two graphs")
            main = block(value)
        elif key == 8:
            _read_opset(graph, block(value))
        elif key == 14:
            _read_metadata(graph, block(value))
        elif key == 25:
            graph.functions += 1
    if main is None:
        raise Damaged("it has no graph")
    _read_graph(graph, main, 0)
    if not graph.outputs:
        raise Damaged("its graph has no outputs")
    # Before IR 4 every initializer had to be listed as an input, too.
    graph.inputs = [value for value in graph.inputs if value.name not in graph.constants]
    return graph


def _read_opset(graph: OnnxGraph, span: Span) -> None:
    domain, version = "", 0
    for key, value in graph.wire.fields(span):
        if key == 1:
            domain = printable(graph.wire.bytes_of(value))
        elif key == 2:
            version = number(value)
    graph.opsets["" if domain == "ai.onnx" else domain] = version
    if len(graph.opsets) > MAX_KINDS:
        raise Damaged(f"it has more than {MAX_KINDS} sets of operators")


def _read_metadata(graph: OnnxGraph, span: Span) -> None:
    key_text, text = "", b""
    for key, value in graph.wire.fields(span):
        if key == 1:
            key_text = printable(graph.wire.bytes_of(value))
        elif key == 2:
            start, end = block(value)
            text = graph.wire.content[start : min(end, start + MAX_METADATA)]
    graph.metadata[key_text] = text.decode("utf-8", errors="backslashreplace")
    if len(graph.metadata) > MAX_KINDS:
        raise Damaged(f"it has more than {MAX_KINDS} metadata")


def _read_graph(graph: OnnxGraph, span: Span, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Damaged(f"it has graphs within graphs, more than {_MAX_DEPTH} deep")
    for key, value in graph.wire.fields(span):
        if key == 1:
            _read_node(graph, block(value), depth)
        elif key == 5:
            _keep_constant(graph, read_tensor(graph.wire, block(value)), depth)
        elif key == 15:
            raise Damaged("it has sparse initializers, which are not read")
        elif key in (11, 12) and depth == 0:
            values = graph.inputs if key == 11 else graph.outputs
            values.append(_read_value(graph.wire, block(value)))
            _limit(len(values), "inputs or outputs")


def _keep_constant(graph: OnnxGraph, constant: Constant, depth: int) -> None:
    graph.parameters[constant.dtype] += constant.count
    if constant.external is not None:
        graph.external.append(constant.external)
    if depth == 0:
        graph.constants[constant.name] = constant
        _limit(len(graph.constants), "initializers")


def _read_node(graph: OnnxGraph, span: Span, depth: int) -> None:
    graph._node_count += 1
    _limit(graph._node_count, "nodes")
    wire = graph.wire
    inputs, outputs = [], []
    operator = domain = ""
    attributes: list[Span] = []
    for key, value in wire.fields(span):
        if key == 1:
            inputs.append(wire.bytes_of(value))
        elif key == 2:
            outputs.append(wire.bytes_of(value))
        elif key == 4:
            operator = printable(wire.bytes_of(value))
        elif key == 5:
            attributes.append(block(value))
        elif key == 7:
            domain = printable(wire.bytes_of(value))
    if not operator:
        raise Damaged("a node has no operator")
    name = operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"
    graph.operators[name] += 1
    if len(graph.operators) > MAX_KINDS:
        raise Damaged(f"it has more than {MAX_KINDS} kinds of operators")
    if depth == 0:
        graph.nodes.append(Node(name, tuple(inputs), tuple(outputs)))
    for attribute in attributes:
        _read_attribute(graph, attribute, depth, outputs if name == "Constant" else [])


def _limit(count: int, what: str) -> None:
    if count > MAX_NODES:
        raise Damaged(f"it has more than {MAX_NODES} {what}")


def _read_attribute(graph: OnnxGraph, span: Span, depth: int, constants: list[bytes]) -> None:
    """Graphs in an attribute, and the tensor of a Constant node, whose outputs are `constants`."""
    for key, value in graph.wire.fields(span):
        if key in (6, 11):
            graph.nested += 1
            _read_graph(graph, block(value), depth + 1)
        elif key == 5 and constants and depth == 0:
            tensor = read_tensor(graph.wire, block(value))
            named = Constant(
                constants[0], tensor.dtype, tensor.dims, tensor.external, tensor.pieces
            )
            _keep_constant(graph, named, depth)


def _read_value(wire: Wire, span: Span) -> Value:
    name, dtype, shape = b"", "unknown", None
    for key, value in wire.fields(span):
        if key == 1:
            name = wire.bytes_of(value)
        elif key == 2:
            dtype, shape = _read_type(wire, block(value))
    return Value(name, dtype, shape)


def _read_type(wire: Wire, span: Span) -> tuple[str, tuple[int | str, ...] | None]:
    kinds = {4: "sequence", 5: "map", 8: "sparse tensor", 9: "optional"}
    dtype, shape = "unknown", None
    for key, value in wire.fields(span):
        if key != 1:
            dtype = kinds.get(key, dtype)
            continue
        for inner, content in wire.fields(block(value)):
            if inner == 1:
                dtype = type_name(number(content))
            elif inner == 2:
                shape = tuple(_sides(wire, block(content)))
    return dtype, shape


def _sides(wire: Wire, span: Span) -> Iterator[int | str]:
    for rank, (key, value) in enumerate(wire.fields(span)):
        if rank >= MAX_RANK:
            raise Damaged(f"a tensor has more than {MAX_RANK} dimensions")
        if key != 1:
            continue
        side: int | str = "?"
        for inner, content in wire.fields(block(value)):
            if inner == 1:
                side = number(content) if number(content) >= 0 else "?"
            elif inner == 2:
                side = printable(wire.bytes_of(content)) or "?"
        yield side
