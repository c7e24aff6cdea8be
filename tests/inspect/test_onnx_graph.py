"""ONNX files, beside ONNX's own parser, and what is none."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.inspect import onnx_graph
from pipeline.inspect.content import Damaged
from pipeline.inspect.onnx_graph import read_onnx
from pipeline.inspect.onnx_tensor import TYPES, read_tensor
from pipeline.inspect.protobuf import Wire

Make = Callable[..., bytes]


def test_it_says_what_onnx_says(files: Any) -> None:
    for name in ("float_onnx", "qdq_onnx", "channels_onnx", "fixed_onnx"):
        content = getattr(files, name).read_bytes()
        graph, proto = read_onnx(content), onnx.load_from_string(content)
        assert graph.ir_version == proto.ir_version
        assert graph.opsets == {entry.domain: entry.version for entry in proto.opset_import}
        assert graph.metadata == {entry.key: entry.value for entry in proto.metadata_props}
        assert [
            (node.inputs, node.outputs, node.operator.rpartition(".")[2]) for node in graph.nodes
        ] == [
            (
                tuple(name.encode() for name in node.input),
                tuple(name.encode() for name in node.output),
                node.op_type,
            )
            for node in proto.graph.node
        ]
        for stored in proto.graph.initializer:
            constant = graph.constants[stored.name.encode()]
            assert constant.dims == tuple(stored.dims)
            assert constant.dtype == TYPES[stored.data_type]
            values = numpy_helper.to_array(stored)
            np.testing.assert_array_equal(
                graph.numbers_of(constant.name), values.reshape(-1).tolist()
            )
        assert sum(graph.parameters.values()) == sum(
            int(np.prod(stored.dims)) for stored in proto.graph.initializer
        )


def test_types_are_those_of_onnx() -> None:
    theirs = {number: name.lower() for name, number in TensorProto.DataType.items() if number}
    theirs |= {1: "float32", 11: "float64"}
    ours = {number: name for number, name in TYPES.items() if number in theirs}
    assert ours == {number: name for number, name in theirs.items() if number in TYPES}


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "code",
    [
        TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.UINT8, TensorProto.INT8,
        TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32, TensorProto.INT64,
    ],
)  # fmt: skip
def test_numbers_of_every_type_in_every_place(code: int, raw: bool) -> None:
    values = np.array([[1, 2], [100, 3]], helper.tensor_dtype_to_np_dtype(code))
    if values.dtype.kind in "if" and values.dtype.name != "uint8":
        values[0, 0] = -5
    vals = values.tobytes() if raw else values.reshape(-1).tolist()
    proto = helper.make_tensor("t", code, values.shape, vals, raw=raw)
    wire = Wire(proto.SerializeToString())
    constant = read_tensor(wire, wire.whole)
    graph = onnx_graph.OnnxGraph(wire, constants={b"t": constant})
    assert graph.numbers_of(b"t") == tuple(values.reshape(-1).tolist())
    assert (constant.dims, constant.count) == ((2, 2), 4)


def test_numbers_that_cannot_be_had(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        one = proto.graph.initializer.add(name="short", data_type=1, dims=[3])
        one.float_data.append(1.0)
        proto.graph.initializer.add(name="text", data_type=8, dims=[1], string_data=[b"x"])
        many = proto.graph.initializer.add(name="many", data_type=1, dims=[1])
        many.float_data.extend([1.0] * 200_000)
        huge = proto.graph.initializer.add(name="huge", data_type=1, dims=[100_000])
        huge.raw_data = bytes(400_000)

    graph = read_onnx(onnx_bytes(edit))
    for name in (b"short", b"text", b"many", b"huge", b"none"):
        assert graph.numbers_of(name) is None


def test_nested_graphs_and_functions_are_counted(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        branch = helper.make_graph([helper.make_node("Abs", ["f1"], ["a"])], "b", [], [])
        node = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
        proto.graph.node.append(node)
        proto.functions.add(name="f", domain="mine")

    graph = read_onnx(onnx_bytes(edit))
    assert (graph.nested, graph.functions, graph.operators["Abs"]) == (2, 1, 2)
    assert not any(node.operator == "Abs" for node in graph.nodes)


def test_constant_nodes_are_constants(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        value = numpy_helper.from_array(np.float32([0.5]), "ignored")
        proto.graph.node.append(helper.make_node("Constant", [], ["k"], value=value))

    assert read_onnx(onnx_bytes(edit)).numbers_of(b"k") == (0.5,)


def test_inputs_that_are_initializers_are_none(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        for name in ("w1", "b1"):
            proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    assert [value.name for value in read_onnx(onnx_bytes(edit)).inputs] == [b"input"]


def test_shapes_and_types_of_all_kinds(onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        info = helper.make_tensor_value_info
        proto.graph.output.extend(
            [
                info("named", TensorProto.INT64, ["n", 2]),
                info("unknown", TensorProto.FLOAT16, None),
                info("scalar", TensorProto.BOOL, []),
                info("negative", TensorProto.FLOAT, [-1, 4]),
                info("free", TensorProto.FLOAT, [None]),
                helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None),
            ]
        )
        proto.graph.output.add(name="strange").type.tensor_type.elem_type = 99

    values = {value.name: value for value in read_onnx(onnx_bytes(edit)).outputs}
    assert (values[b"named"].dtype, values[b"named"].shape) == ("int64", ("n", 2))
    assert (values[b"unknown"].dtype, values[b"unknown"].shape) == ("float16", None)
    assert (values[b"scalar"].dtype, values[b"scalar"].shape) == ("bool", ())
    assert values[b"negative"].shape == ("?", 4)
    assert values[b"free"].shape == ("?",)
    assert values[b"list"].dtype == "sequence"
    assert values[b"strange"].dtype == "type 99"


def tag(field: int, content: bytes) -> bytes:
    """A block of a message."""
    assert field < 16
    length, size = b"", len(content)
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


OUTPUT = tag(12, tag(1, b"y"))
NODE = tag(1, tag(4, b"Relu"))


def nested(depth: int) -> bytes:
    graph = OUTPUT
    for _ in range(depth):
        graph = tag(1, tag(4, b"If") + tag(5, tag(6, graph)))
    return tag(7, OUTPUT + graph)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has no graph"),
        (b"\x08\x08", "it has no graph"),
        (tag(7, b""), "its graph has no outputs"),
        (tag(7, NODE), "its graph has no outputs"),
        (tag(7, OUTPUT) * 2, "it has two graphs"),
        (b"\x38\x01", "a number where a block belongs"),
        (tag(1, b"x") + tag(7, OUTPUT), "a block where a number belongs"),
        (tag(7, OUTPUT + tag(1, b"")), "a node has no operator"),
        (tag(7, OUTPUT + tag(15, b"")), "sparse initializers"),
        (nested(30), "graphs within graphs"),
        (nested(20_000)[:100_000], "goes beyond its end"),
        (tag(7, OUTPUT + tag(5, b"\x08\x02" * 65)), "no possible shape"),
        (tag(7, OUTPUT + tag(5, b"\x08" + b"\xff" * 9 + b"\x01")), "no possible shape"),
        (tag(7, OUTPUT + tag(5, b"\x08\xff\xff\xff\xff\x07" * 8)), "no possible shape"),
        (
            tag(7, OUTPUT + tag(5, b"\x08\x05\x10\x01" + tag(8, b"w") + tag(9, b"abc"))),
            r"the tensor 'w' is \[5\] in float32, which are 20 bytes, but has 3",
        ),
        (
            tag(7, OUTPUT + tag(11, tag(2, tag(1, tag(2, tag(1, b"") * 65))))),
            "more than 64 dimensions",
        ),
    ],
)
def test_what_is_no_model(content: bytes, said: str) -> None:
    with pytest.raises(Damaged, match=said):
        read_onnx(content)


def test_deep_graphs_up_to_the_limit() -> None:
    assert read_onnx(nested(16)).nested == 16


def test_more_than_any_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "MAX_NODES", 10)
    assert read_onnx(tag(7, OUTPUT + NODE * 10)).operators["Relu"] == 10
    constants = b"".join(tag(5, tag(8, b"%d" % n)) for n in range(11))
    for graph, what in ((NODE * 11, "nodes"), (constants, "initializers"), (OUTPUT * 11, "inputs")):
        with pytest.raises(Damaged, match=f"more than 10 {what}"):
            read_onnx(tag(7, OUTPUT + graph))
    monkeypatch.setattr(onnx_graph, "MAX_KINDS", 3)
    kinds = b"".join(tag(1, tag(4, b"%d" % n)) for n in range(4))
    with pytest.raises(Damaged, match="more than 3 kinds"):
        read_onnx(tag(7, OUTPUT + kinds))
    with pytest.raises(Damaged, match="more than 3 metadata"):
        read_onnx(b"".join(tag(14, tag(1, b"%d" % n)) for n in range(4)))
    with pytest.raises(Damaged, match="more than 3 sets"):
        read_onnx(b"".join(tag(8, tag(1, b"%d" % n)) for n in range(4)))


def test_scales_altogether(monkeypatch: pytest.MonkeyPatch, onnx_bytes: Make) -> None:
    def edit(proto: Any) -> None:
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(40, np.float32), "s"))

    graph = read_onnx(onnx_bytes(edit))
    monkeypatch.setattr(onnx_graph, "MAX_ALL_NUMBERS", 100)
    assert graph.numbers_of(b"s") == (0.0,) * 40
    graph.numbers_of(b"s")
    with pytest.raises(Damaged, match="more than 100 scales"):
        graph.numbers_of(b"s")


def test_a_bomb_of_small_nodes_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of eight bytes, of which ONNX's own parser makes hundreds each."""
    monkeypatch.setattr(onnx_graph, "MAX_NODES", 20_000)
    bomb = tag(7, OUTPUT + NODE * 500_000)
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match="more than 20000 nodes"):
            read_onnx(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(bomb)
    finally:
        tracemalloc.stop()


def test_a_model_as_it_was_before_it_was_read(lab: Any) -> None:
    """The reader keeps names as bytes, also those that are no UTF-8."""
    content = ir.to_proto(lab.float_graph()).SerializeToString().replace(b"logits", b"logit\xff")
    assert read_onnx(content).outputs[0].name == b"logit\xff"
