"""The file itself: read back with the schema, and by LiteRT."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lower.model_file import ALIGNMENT, ModelFile, Quantization

STEP = Quantization((0.5,), (3,))


def read(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def chain(file: ModelFile, source: Any, names: list[str]) -> list[Any]:
    """Adds of a constant, one behind the other."""
    from ai_edge_litert import schema_py_generated as schema

    made = [source]
    for name in names:
        constant = file.constant(f"{name}_by", np.array([4], np.uint8), STEP)
        made.append(file.tensor(name, (1, 2), "uint8", STEP))
        file.operator("ADD", 1, [made[-2], constant], made[-1], schema.AddOptionsT())
    return made


def test_what_was_written_is_read_back() -> None:
    file = ModelFile()
    source = file.tensor("in", (1, 2), "uint8", STEP)
    made = chain(file, source, ["a", "b"])
    content = file.to_bytes([source], [made[-1]], "about", {"own": b"facts", "more": b""})
    assert content[4:8] == b"TFL3"
    model = read(content)
    assert (model.version, model.description) == (3, b"about")
    assert [code.builtinCode for code in model.operatorCodes] == [0]
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    assert names == ["in", "a_by", "a", "b_by", "b"]
    assert [names[i] for i in [*graph.inputs, *graph.outputs]] == ["in", "b"]
    for tensor in graph.tensors:
        assert (tensor.quantization.scale, tensor.quantization.zeroPoint) == ([0.5], [3])
        data = model.buffers[tensor.buffer].data
        assert (data is not None) == tensor.name.endswith(b"_by")
    stored = {m.name.decode(): model.buffers[m.buffer].data.tobytes() for m in model.metadata[:1]}
    assert stored == {"own": b"facts"}


def test_numbers_of_every_type_are_little_endian() -> None:
    file = ModelFile()
    source = file.tensor("in", (1, 2), "uint8", STEP)
    values = np.array([[1, -2], [300, 4]], ">i4")
    constant = file.constant("k", values)
    result = file.tensor("out", (1, 2), "uint8", STEP)
    file.operator("ADD", 1, [source, constant], result)
    model = read(file.to_bytes([source], [result], "", {}))
    stored = next(t for t in model.subgraphs[0].tensors if t.name == b"k")
    assert (stored.shape.tolist(), stored.type) == ([2, 2], 2)
    data = model.buffers[stored.buffer].data.tobytes()
    np.testing.assert_array_equal(np.frombuffer(data, "<i4").reshape(2, 2), values)


@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=9))
@settings(deadline=None)
def test_every_buffer_is_aligned(sizes: list[int]) -> None:
    """The schema's force_align, which kernels and hardware may count on."""
    from ai_edge_litert import schema_py_generated as schema

    file = ModelFile()
    source = file.tensor("in", (1,), "uint8", STEP)
    constants = [
        file.constant(f"k{i}", np.full(size, 100 + i, np.uint8)) for i, size in enumerate(sizes)
    ]
    result = file.tensor("out", (1,), "uint8", STEP)
    file.operator("CONCATENATION", 1, [source, *constants], result)
    content = file.to_bytes([source], [result], "", {"m": bytes(range(33))})
    model = schema.Model.GetRootAs(content, 0)
    assert model.BuffersLength() == len(sizes) + 2
    for index in range(1, model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        start = data.__array_interface__["data"][0]
        base = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
        assert (start - base) % ALIGNMENT == 0
    assert len(content) % ALIGNMENT == 0


def test_the_same_calls_give_the_same_bytes() -> None:
    def made() -> bytes:
        file = ModelFile()
        source = file.tensor("in", (1, 2), "uint8", STEP)
        return file.to_bytes([source], [chain(file, source, ["a", "b", "c"])[-1]], "", {"m": b"1"})

    assert made() == made()


def test_what_nobody_reads_is_left_out() -> None:
    file = ModelFile()
    source = file.tensor("in", (1, 2), "uint8", STEP)
    made = chain(file, source, ["a", "b", "c"])
    assert file.kinds([made[2]]) == ["ADD", "ADD"]
    model = read(file.to_bytes([source], [made[2]], "", {}))
    names = [tensor.name for tensor in model.subgraphs[0].tensors]
    assert names == [b"in", b"a_by", b"a", b"b_by", b"b"]
    assert len(model.buffers) == 3


@pytest.mark.parametrize("resolver", ["AUTO", "BUILTIN_REF"])
def test_litert_takes_it(ops: Any, resolver: str) -> None:
    file = ModelFile()
    source = file.tensor("in", (1, 2), "uint8", STEP)
    made = chain(file, source, ["a", "b"])
    content = file.to_bytes([source], [made[-1]], "", {})
    # (q - 3) / 2 + (4 - 3) / 2 is one more, twice.
    given = np.array([[0, 250]])
    result = ops.run_tflite(content, {"in": given}, resolver=resolver)
    np.testing.assert_array_equal(result, given + 2)
