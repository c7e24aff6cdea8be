"""A TFLite file of one subgraph, built tensor by tensor with the LiteRT schema's own classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16
"""Bytes. The schema demands it of every buffer; flatbuffers' Python classes leave weights at any
address."""


@dataclass(frozen=True)
class Quantization:
    """`real = scale * (q - zero_point)`; one value each, or one for every index of `axis`, which
    counts dimensions as they are stored."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: its place in it, and its shape as stored (four dimensions: NHWC)."""

    index: int
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None


@dataclass(frozen=True)
class Operation:
    """One operator: TFLite's name for it, its version, and its options (an object of the schema)."""

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


class ModelFile:
    """Tensors and operators in order. Operators whose results nobody reads are left out of the
    file, and so are their tensors: an operator may read past the one before it."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._names: list[str] = []
        self._data: dict[int, bytes] = {}
        self._operations: list[Operation] = []

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, quantization: Quantization | None
    ) -> Tensor:
        """A new tensor whose values an operator makes, or the model's input."""
        tensor = Tensor(len(self._tensors), tuple(map(int, shape)), dtype, quantization)
        self._tensors.append(tensor)
        self._names.append(name)
        return tensor

    def constant(
        self, name: str, values: "NDArray[Any]", quantization: Quantization | None = None
    ) -> Tensor:
        """A new tensor with these values, in their own type and shape."""
        tensor = self.tensor(name, values.shape, values.dtype.name, quantization)
        self._data[tensor.index] = np.ascontiguousarray(
            values, values.dtype.newbyteorder("<")
        ).tobytes()
        return tensor

    def operator(
        self,
        kind: str,
        version: int,
        inputs: Sequence[Tensor],
        outputs: Tensor | Sequence[Tensor],
        options: Any = None,
    ) -> None:
        """Append an operator, of one result or several; `version` is the lowest that has its
        meaning."""
        made = [outputs] if isinstance(outputs, Tensor) else outputs
        read, written = (tuple(tensor.index for tensor in tensors) for tensors in (inputs, made))
        self._operations.append(Operation(kind, version, read, written, options))

    def name(self, tensor: Tensor) -> str:
        """What a tensor is called in the file."""
        return self._names[tensor.index]

    def kinds(self, outputs: Sequence[Tensor]) -> list[str]:
        """TFLite's names of the operators that the file will have, in order."""
        return [operation.kind for operation in self._needed(outputs)]

    def to_bytes(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        description: str,
        metadata: Mapping[str, bytes],
    ) -> bytes:
        """The file's content, the same for the same calls. `metadata` goes into buffers by name."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        buffer_class = _aligned_buffer(schema)
        operations = self._needed(outputs)
        used = {tensor.index for tensor in (*inputs, *outputs)}
        used.update(i for operation in operations for i in operation.inputs + operation.outputs)
        places = {old: new for new, old in enumerate(sorted(used))}
        buffers = [schema.BufferT()]  # tensors without values share the empty buffer 0
        tensors = [self._pack_tensor(schema, buffer_class, buffers, old) for old in places]
        codes = list(dict.fromkeys((operation.kind, operation.version) for operation in operations))
        subgraph = schema.SubGraphT(
            tensors=tensors,
            inputs=[places[tensor.index] for tensor in inputs],
            outputs=[places[tensor.index] for tensor in outputs],
            operators=[
                _pack_operator(schema, codes, places, operation) for operation in operations
            ],
            name="main",
        )
        entries = []
        for name, content in metadata.items():
            entries.append(schema.MetadataT(name=name, buffer=len(buffers)))
            buffers.append(buffer_class(data=np.frombuffer(content, np.uint8)))
        model = schema.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[_pack_code(schema, *code) for code in codes],
            subgraphs=[subgraph],
            description=description,
            buffers=buffers,
            metadata=entries,
        )
        builder = flatbuffers.Builder(sum(map(len, self._data.values())) + (1 << 20))
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def _needed(self, outputs: Sequence[Tensor]) -> list[Operation]:
        wanted = {tensor.index for tensor in outputs}
        kept = []
        for operation in reversed(self._operations):
            if wanted.intersection(operation.outputs):
                wanted.update(operation.inputs)
                kept.append(operation)
        return kept[::-1]

    def _pack_tensor(self, schema: Any, buffer_class: Any, buffers: list[Any], index: int) -> Any:
        tensor = self._tensors[index]
        place = 0
        if index in self._data:
            place = len(buffers)
            buffers.append(buffer_class(data=np.frombuffer(self._data[index], np.uint8)))
        return schema.TensorT(
            shape=np.array(tensor.shape, np.int32),
            type=getattr(schema.TensorType, tensor.dtype.upper()),
            buffer=place,
            name=self._names[index],
            quantization=_pack_quantization(schema, tensor.quantization),
            hasRank=True,
        )


def _aligned_buffer(schema: Any) -> Any:
    class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
        """A buffer whose data starts at a multiple of `ALIGNMENT` in the file."""

        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            builder.Prep(ALIGNMENT, self.data.size)
            return super().Pack(builder)

    return AlignedBuffer


def _pack_quantization(schema: Any, quantization: Quantization | None) -> Any:
    if quantization is None:
        return None
    return schema.QuantizationParametersT(
        scale=np.array(quantization.scale, np.float32),
        zeroPoint=np.array(quantization.zero_point, np.int64),
        quantizedDimension=quantization.axis,
    )


def _pack_code(schema: Any, kind: str, version: int) -> Any:
    code = getattr(schema.BuiltinOperator, kind)
    # Readers from before 2020 know only the deprecated field, which ends at 127.
    return schema.OperatorCodeT(
        deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version
    )


def _pack_operator(
    schema: Any, codes: list[tuple[str, int]], places: dict[int, int], operation: Operation
) -> Any:
    options = operation.options
    name = "NONE" if options is None else type(options).__name__.removesuffix("T")
    return schema.OperatorT(
        opcodeIndex=codes.index((operation.kind, operation.version)),
        inputs=[places[index] for index in operation.inputs],
        outputs=[places[index] for index in operation.outputs],
        builtinOptionsType=getattr(schema.BuiltinOptions, name),
        builtinOptions=options,
    )
