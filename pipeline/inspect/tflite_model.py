"""Read of a TFLite file what describes it, and leave its weights where they are.

LiteRT itself allocates whatever a file asks for, so it is not asked. Fields are numbered by
`schema.fbs` (version 3) from 0 on.
"""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.inspect.content import Damaged
from pipeline.inspect.flatbuffer import Flatbuffer, Table
from pipeline.inspect.printable import printable
from pipeline.inspect.schemes import Grid

IDENTIFIER = b"TFL3"
MAX_TENSORS = 100_000
MAX_OPERATORS = 100_000
MAX_KINDS = 1_000
MAX_SUBGRAPHS = 64
MAX_BUFFERS = 200_000
MAX_RANK = 64
MAX_SCALES = 65_536
MAX_METADATA = 1 << 16
"""Bytes that are read of one buffer of metadata."""
_MAX_TEXT = 1_024
_LARGEST_SIDE = 2**31 - 1
_CUSTOM = "CUSTOM"


@dataclass(frozen=True)
class TfliteTensor:
    """A tensor of a subgraph."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    """Sides that the signature leaves free are `?`."""
    bytes: int
    """Of its constant; 0 where an operator makes it."""
    grid: Grid | None

    @property
    def is_constant(self) -> bool:
        return self.bytes > 0


@dataclass
class TfliteModel:
    """What was read; filled by `read_tflite`."""

    version: int
    description: str
    subgraphs: int = 0
    inputs: tuple[TfliteTensor, ...] = ()
    """Of the first subgraph, which is the model."""
    outputs: tuple[TfliteTensor, ...] = ()
    tensors: list[TfliteTensor] = field(default_factory=list)
    """Of all subgraphs."""
    operators: Counter[str] = field(default_factory=Counter)
    """Of all subgraphs."""
    metadata: dict[str, bytes] = field(default_factory=dict)


def read_tflite(content: bytes) -> TfliteModel:
    """Read a model. Raises Damaged where it is none."""
    root = Flatbuffer(content).root(IDENTIFIER)
    model = TfliteModel(root.number(0, "<I"), printable(root.content(3, _MAX_TEXT)))
    buffers = root.tables(4, MAX_BUFFERS, "buffers")
    sizes = [_buffer_size(buffer) for buffer in buffers]
    for entry in root.tables(6, MAX_KINDS, "metadata"):
        index = entry.number(1, "<I")
        if index < len(buffers):
            name = printable(entry.content(0, _MAX_TEXT))
            model.metadata[name] = buffers[index].content(0, MAX_METADATA)
    kinds = _kinds(root)
    subgraphs = root.tables(2, MAX_SUBGRAPHS, "subgraphs")
    if not subgraphs:
        raise Damaged("it has no subgraph")
    model.subgraphs = len(subgraphs)
    for number, subgraph in enumerate(subgraphs):
        tensors = [_tensor(t, sizes) for t in subgraph.tables(0, MAX_TENSORS, "tensors")]
        model.tensors += tensors
        if number == 0:
            model.inputs = _chosen(subgraph, 1, tensors)
            model.outputs = _chosen(subgraph, 2, tensors)
        for operator in subgraph.tables(3, MAX_OPERATORS, "operators"):
            index = operator.number(0, "<I")
            if index >= len(kinds):
                raise Damaged(f"an operator is of the kind {index} of {len(kinds)}")
            model.operators[kinds[index]] += 1
    if not model.outputs:
        raise Damaged("it has no outputs")
    return model


def _buffer_size(buffer: Table) -> int:
    """Bytes of a buffer. Files above 2 GiB keep theirs outside, with an offset and a size."""
    return buffer.length(0) or buffer.number(2, "<Q")


def _kinds(root: Table) -> list[str]:
    """The names of the operators that the file uses."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    kinds = []
    for table in root.tables(1, MAX_KINDS, "kinds of operators"):
        # Files from before 2020 have only the first field, which ends at 127.
        code = max(table.number(0, "<b"), table.number(3, "<i"))
        name = names.get(code, f"operator {code}")
        custom = printable(table.content(1, _MAX_TEXT))
        kinds.append(f"{_CUSTOM} {custom}" if name == _CUSTOM else name)
    return kinds


def _chosen(subgraph: Table, field: int, tensors: list[TfliteTensor]) -> tuple[TfliteTensor, ...]:
    chosen = []
    for index in subgraph.numbers(field, "i", MAX_KINDS, "inputs or outputs"):
        if not 0 <= index < len(tensors):
            raise Damaged(f"an input or output is tensor {index} of {len(tensors)}")
        chosen.append(tensors[int(index)])
    return tuple(chosen)


def _tensor(table: Table, sizes: list[int]) -> TfliteTensor:
    name = printable(table.content(3, _MAX_TEXT))
    shape = table.numbers(0, "i", MAX_RANK, "dimensions")
    signature = table.numbers(7, "i", MAX_RANK, "dimensions")
    if any(side < 0 for side in shape):
        raise Damaged(f"the tensor {name!r} has the shape {list(shape)}")
    free = [side < 0 for side in signature] if len(signature) == len(shape) else []
    index = table.number(2, "<I")
    if index >= len(sizes) and index:
        raise Damaged(f"the tensor {name!r} is in buffer {index} of {len(sizes)}")
    dtype = _type_name(table.number(1, "<b"))
    return TfliteTensor(
        name,
        dtype,
        tuple("?" if free and free[axis] else int(side) for axis, side in enumerate(shape)),
        sizes[index] if index else 0,  # buffer 0 is the one of tensors without values
        _grid(table, dtype, name),
    )


def _grid(tensor: Table, dtype: str, name: str) -> Grid | None:
    table = tensor.table(4)
    if table is None:
        return None
    scale = table.numbers(2, "f", MAX_SCALES, "scales")
    if not scale:
        return None
    points = table.numbers(3, "q", MAX_SCALES, "zero points") or (0,) * len(scale)
    if len(points) not in (1, len(scale)):
        raise Damaged(f"the tensor {name!r} has {len(scale)} scales and {len(points)} zero points")
    axis = table.number(6, "<i") if len(scale) > 1 else None
    return Grid(dtype, tuple(map(float, scale)), tuple(map(int, points)), axis)


def _type_name(code: int) -> str:
    from ai_edge_litert import schema_py_generated as schema

    types: dict[str, int] = vars(schema.TensorType)
    names = {number: name.lower() for name, number in types.items()}
    return names.get(code, f"type {code}")
