"""Files that nobody vouches for: read as they are, or refused in words."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.errors import StageError
from pipeline.lift import subgraph as module
from pipeline.lift.operators import lift_tflite
from pipeline.lift.subgraph import read_subgraph


def part(model: Any) -> Any:
    return model.subgraphs[0]


@pytest.fixture(scope="module")
def content(nets: Any) -> bytes:
    return bytes(nets.mobile_net())


def test_it_is_what_the_schema_says(content: bytes) -> None:
    ours = read_subgraph(content, "m.tflite")
    theirs = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    assert len(ours.tensors) == len(part(theirs).tensors)
    for tensor, other in zip(ours.tensors, part(theirs).tensors, strict=True):
        assert (tensor.name, tensor.shape) == (other.name.decode(), tuple(other.shape))
        data = theirs.buffers[other.buffer].data
        assert tensor.is_constant == (data is not None)
        if tensor.values is not None:
            assert tensor.values.tobytes() == bytes(data)
    for operator, other in zip(ours.operators, part(theirs).operators, strict=True):
        assert operator.kind == names[theirs.operatorCodes[other.opcodeIndex].builtinCode]
        assert (operator.inputs, operator.outputs) == (tuple(other.inputs), tuple(other.outputs))
        if other.builtinOptions is not None:
            assert vars(operator.options).keys() == vars(other.builtinOptions).keys()


def test_operators_of_files_from_before_2020(nets: Any, content: bytes) -> None:
    def edit(model: Any) -> None:
        for code in model.operatorCodes:
            code.builtinCode = 0

    # Until then there was nothing above 127, HARD_SWISH (117) included.
    old = read_subgraph(nets.edited(content, edit), "")
    assert [o.kind for o in old.operators] == [o.kind for o in read_subgraph(content, "").operators]


def tensor(index: int, **values: Any) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        for name, value in values.items():
            setattr(part(model).tensors[index], name, value)

    return edit


def operator(index: int, **values: Any) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        for name, value in values.items():
            setattr(part(model).operators[index], name, value)

    return edit


def ends(**values: Any) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        for name, value in values.items():
            setattr(part(model), name, value)

    return edit


def shorter_buffer(model: Any) -> None:
    buffer = next(buffer for buffer in model.buffers if buffer.data is not None)
    buffer.data = buffer.data[:-2]


def outside(model: Any) -> None:
    buffer = next(buffer for buffer in model.buffers if buffer.data is not None)
    buffer.data, buffer.offset, buffer.size = None, 1 << 20, 1 << 20


def twice(model: Any) -> None:
    model.subgraphs.append(part(model))


def sparse(model: Any) -> None:
    part(model).tensors[1].sparsity = schema.SparsityParametersT()


BENT: dict[str, tuple[Callable[[Any], None], str]] = {
    "an operator that reads beyond": (operator(0, inputs=[0, 1, 9_999]), "tensor 9999 of"),
    "an operator that reads before": (operator(0, inputs=[0, 1, -2]), "tensor -2 of"),
    "an operator that makes nothing": (operator(0, outputs=[]), "has no result"),
    "an operator that makes what is absent": (operator(0, outputs=[-1]), "tensor -1 of"),
    "an operator that overwrites its input": (operator(0, outputs=[0]), "makes what is there"),
    "operators in a circle": (operator(0, inputs=[4, 1, 2]), "which is not made yet"),
    "an operator of no kind": (operator(0, opcodeIndex=77), "of the kind 77 of"),
    "an output that is never made": (ends(operators=[]), "is never made"),
    "a constant as input": (ends(inputs=[1]), "is a constant"),
    "an input beyond": (ends(inputs=[9_999]), "tensor 9999 of"),
    "a shape below nothing": (tensor(3, shape=[1, -4, 4, 8]), "has the shape"),
    "a shape without end": (tensor(3, shape=[1, 65_535, 65_535, 8]), "has the shape"),
    "free sizes": (tensor(3, shapeSignature=[1, -1, -1, 8]), "only the batch may be free"),
    "a buffer beyond": (tensor(1, buffer=9_999), "buffer 9999 of"),
    "a buffer that is too short": (shorter_buffer, "bytes for float32"),
    "a buffer outside": (outside, "lies outside the model"),
    "another type than its bytes": (tensor(1, type=schema.TensorType.INT64), "bytes for int64"),
    "a variable": (tensor(3, isVariable=True), "is a variable or sparse"),
    "a sparse constant": (sparse, "is a variable or sparse"),
    "two subgraphs": (twice, "has 2 subgraphs"),
}


@pytest.mark.parametrize(("edit", "said"), BENT.values(), ids=BENT)
def test_what_does_not_hold_together(nets: Any, content: bytes, edit: Any, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        read_subgraph(nets.edited(content, edit), "m.tflite")
    assert caught.value.where == "m.tflite"


def test_many_inputs(nets: Any, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PLACES", 2)
    with pytest.raises(StageError, match="an operator has 3 inputs"):
        read_subgraph(content, "m.tflite")


def test_names_are_made_fit_for_a_terminal(nets: Any, content: bytes) -> None:
    def edit(model: Any) -> None:
        for made in part(model).tensors:
            made.name = "a\x1b[31m\nb"
        for code in model.operatorCodes:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
            code.customCode = "c\x07"

    with pytest.raises(StageError) as caught:
        lift_tflite(nets.edited(content, edit), "m.tflite")
    assert "CUSTOM c\\x07" in caught.value.what
    assert str(caught.value).count("\n") == 1, "only the hint is on a line of its own"
    assert "\x1b" not in str(caught.value)


def test_cut_and_bent_files_are_read_or_refused(content: bytes) -> None:
    """Any byte may be wrong: the answer is a model or a StageError, nothing else."""
    source = random.Random(1)
    outcomes = set()
    head = len(content) - sum(
        len(buffer.data)
        for buffer in schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).buffers
        if buffer.data is not None
    )
    assert head > 1_000
    for _ in range(300):
        bent = bytearray(content)
        for _ in range(source.randint(1, 4)):
            bent[source.randrange(len(bent))] = source.choice([0, 1, 0x7F, 0x80, 0xFF])
        if source.random() < 0.2:
            del bent[source.randrange(len(bent)) :]
        try:
            lift_tflite(bytes(bent), "m.tflite")
            outcomes.add("read")
        except StageError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_values_are_little_endian(nets: Any) -> None:
    net = nets.Net()
    net.dense(net.mean(net.input), 2)
    weights = net.constant([[1.5, -2.0]])
    content = net.to_bytes(net.op("FULLY_CONNECTED", [net.input, weights], (1, 1)))
    [found] = [t.values for t in read_subgraph(content, "").tensors if t.values is not None]
    np.testing.assert_array_equal(found, [[1.5, -2.0]])
