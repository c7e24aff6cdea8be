"""The tensors and operators of a TFLite file, whoever made it, as plain data.

The file is bounded and its places are checked first (`inspect/tflite_model.py`), then read with the
LiteRT schema's own classes, and what it says must hold together: LiteRT itself would take an index
or a size at its word.
"""

import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StageError
from pipeline.inspect.content import Damaged
from pipeline.inspect.printable import printable
from pipeline.inspect.tflite_model import TfliteModel, read_tflite

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = (
    "float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "uint32", "uint16",
    "uint64", "bool",
)  # fmt: skip
"""Types of TFLite that numpy has too; constants of others are left unread."""
MAX_VALUES = 1 << 28
"""Numbers of one tensor: 1 GiB as float32. No classifier of pictures comes near."""
MAX_PLACES = 10_000
"""Inputs of one operator."""
ABSENT = -1
"""The index of an optional input that an operator does without."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor: its shape as stored (four dimensions: NHWC), and its values if it is constant."""

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    values: "NDArray[Any] | None"
    is_constant: bool


@dataclass(frozen=True)
class Operator:
    """An operator: TFLite's name for it, the tensors it reads and makes, and its options (an object
    of the schema, None where it has none)."""

    place: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Subgraph:
    """The model: operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @cached_property
    def makers(self) -> dict[int, Operator]:
        """The operator that makes each tensor."""
        return {index: operator for operator in self.operators for index in operator.outputs}

    @cached_property
    def readers(self) -> dict[int, list[Operator]]:
        """The operators that read each tensor."""
        readers: dict[int, list[Operator]] = {}
        for operator in self.operators:
            for index in operator.inputs:
                readers.setdefault(index, []).append(operator)
        return readers

    def place_of(self, operator: Operator) -> str:
        """How errors name an operator: its number and kind, and what it makes."""
        made = self.tensors[operator.outputs[0]].name if operator.outputs else "nothing"
        return f"operator {operator.place} ({operator.kind}, makes {made!r})"


def read_subgraph(content: bytes, where: str) -> Subgraph:
    """Read a model of one subgraph. Raises StageError for anything else, and for a damaged one."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        known = read_tflite(content)
        if known.subgraphs != 1:
            raise Damaged(f"it has {known.subgraphs} subgraphs; a classifier has one")
        model = schema.Model.GetRootAs(content, 0)
        subgraph = _read(schema, model, model.Subgraphs(0), known)
        _require_order(subgraph)
    except Damaged as error:
        raise StageError(f"is not a TFLite model that can be read: {error}", where=where) from None
    except (
        struct.error,
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        # What flatbuffers' Python classes raise where an offset leads nowhere.
        raise StageError(f"is a damaged TFLite model: {error}", where=where) from None
    return subgraph


def _read(schema: Any, model: Any, table: Any, known: TfliteModel) -> Subgraph:
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    kinds = []
    for index in range(model.OperatorCodesLength()):
        entry = model.OperatorCodes(index)
        # Files from before 2020 have only the deprecated field, which ends at 127.
        code = max(entry.DeprecatedBuiltinCode(), entry.BuiltinCode())
        kind = names.get(code, f"operator {code}")
        kinds.append(f"{kind} {printable(entry.CustomCode() or b'')}" if kind == "CUSTOM" else kind)
    tensors = tuple(
        _tensor(model, table.Tensors(index), index, known.tensors[index].dtype)
        for index in range(table.TensorsLength())
    )
    operators = []
    for place in range(table.OperatorsLength()):
        entry = table.Operators(place)
        inputs = _places(entry.InputsAsNumpy(), len(tensors), optional=True)
        outputs = _places(entry.OutputsAsNumpy(), len(tensors))
        kind = kinds[entry.OpcodeIndex()]
        operators.append(Operator(place, kind, inputs, outputs, _options(schema, entry)))
    ends = [
        tuple(tensors[index] for index in _places(indices, len(tensors)))
        for indices in (table.InputsAsNumpy(), table.OutputsAsNumpy())
    ]
    return Subgraph(tensors, tuple(operators), *ends)


def _tensor(model: Any, table: Any, index: int, dtype: str) -> Tensor:
    name = printable(table.Name() or b"")
    shape = tuple(int(side) for side in _list(table.ShapeAsNumpy()))
    signature = [int(side) for side in _list(table.ShapeSignatureAsNumpy())]
    if any(side < 0 for side in signature[1:]):
        raise Damaged(
            f"the tensor {name!r} has free sizes, {signature}; only the batch may be free"
        )
    if any(side < 0 for side in shape) or math.prod(shape) > MAX_VALUES:
        raise Damaged(f"the tensor {name!r} has the shape {list(shape)}")
    if table.IsVariable() or table.Sparsity() is not None:
        raise Damaged(f"the tensor {name!r} is a variable or sparse")
    if table.Buffer() >= model.BuffersLength():
        if table.Buffer():
            raise Damaged(f"the tensor {name!r} is in a buffer that is not there")
        return Tensor(index, name, dtype, shape, None, is_constant=False)
    buffer = model.Buffers(table.Buffer())
    if buffer.Size() > 1:
        raise Damaged(f"the tensor {name!r} lies outside the model, as in files above 2 GiB")
    data = _list(buffer.DataAsNumpy())
    if not len(data):
        return Tensor(index, name, dtype, shape, None, is_constant=False)
    if dtype not in TYPES:
        return Tensor(index, name, dtype, shape, None, is_constant=True)
    width = np.dtype(dtype).newbyteorder("<")
    if len(data) != math.prod(shape) * width.itemsize:
        raise Damaged(f"the tensor {name!r} has {len(data)} bytes for {dtype} {list(shape)}")
    values = np.frombuffer(data.tobytes(), width).astype(dtype).reshape(shape)
    return Tensor(index, name, dtype, shape, values, is_constant=True)


def _list(vector: Any) -> Any:
    """A vector as numpy; flatbuffers give 0 for one that is left out."""
    return () if isinstance(vector, int) else vector


def _places(vector: Any, count: int, *, optional: bool = False) -> tuple[int, ...]:
    found = _list(vector)
    if len(found) > MAX_PLACES:
        raise Damaged(f"an operator has {len(found)} inputs or outputs")
    places = tuple(int(index) for index in found)
    for index in places:
        if not (0 <= index < count or (optional and index == ABSENT)):
            raise Damaged(f"an operator reads or makes tensor {index} of {count}")
    return places


def _options(schema: Any, entry: Any) -> Any:
    """The options of an operator, where they are of a kind whose size is fixed or small."""
    kind = entry.BuiltinOptionsType()
    if not kind or entry.BuiltinOptions() is None:
        return None
    return schema.BuiltinOptionsCreator(kind, entry.BuiltinOptions())


def _require_order(subgraph: Subgraph) -> None:
    """Every tensor is there before it is read, and made once."""
    there = {tensor.index for tensor in subgraph.tensors if tensor.is_constant}
    for tensor in subgraph.inputs:
        if tensor.index in there:
            raise Damaged(f"the input {tensor.name!r} is a constant")
        there.add(tensor.index)
    for operator in subgraph.operators:
        if not operator.outputs:
            raise Damaged(f"{subgraph.place_of(operator)} has no result")
        for index in operator.inputs:
            if index != ABSENT and index not in there:
                name = subgraph.tensors[index].name
                raise Damaged(
                    f"{subgraph.place_of(operator)} reads {name!r}, which is not made yet"
                )
        for index in operator.outputs:
            if index in there:
                raise Damaged(f"{subgraph.place_of(operator)} makes what is there already")
            there.add(index)
    for tensor in subgraph.outputs:
        if tensor.index not in there:
            raise Damaged(f"the output {tensor.name!r} is never made")
