"""TFLite files of any origin: made with the schema's own classes, and bent afterwards."""

from collections.abc import Callable
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.inspect import tflite_model
from pipeline.inspect.content import Damaged
from pipeline.inspect.tflite_model import read_tflite

Edit = Callable[[Any], None]


def edited(content: bytes, edit: Edit) -> bytes:
    """The file after `edit` has changed the schema's object of its model."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    edit(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_it_says_what_the_schema_says(files: Any) -> None:
    for name in ("model_tflite", "channels_tflite"):
        content = getattr(files, name).read_bytes()
        model, theirs = (
            read_tflite(content),
            schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)),
        )
        subgraph = theirs.subgraphs[0]
        assert (model.version, model.subgraphs) == (3, 1)
        assert len(model.tensors) == len(subgraph.tensors)
        for ours, other in zip(model.tensors, subgraph.tensors, strict=True):
            assert (ours.name, ours.shape) == (other.name.decode(), tuple(other.shape))
            data = theirs.buffers[other.buffer].data
            assert ours.bytes == (0 if data is None else len(data))
            scales = () if other.quantization is None else tuple(other.quantization.scale)
            assert (ours.grid.scale if ours.grid else ()) == scales
        assert sum(model.operators.values()) == len(subgraph.operators)
        assert [tensor.name for tensor in model.inputs] == ["input"]
        assert set(model.metadata) == {entry.name.decode() for entry in theirs.metadata}


def test_custom_and_unknown_operators(files: Any) -> None:
    def edit(model: Any) -> None:
        model.operatorCodes[0].customCode = "Mine\x1b"
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[1].builtinCode = 9_999

    operators = read_tflite(edited(files.model_tflite.read_bytes(), edit)).operators
    assert operators["CUSTOM Mine\\x1b"] == 1
    assert operators["operator 9999"] == 1


def test_operators_of_files_from_before_2020(files: Any) -> None:
    def edit(model: Any) -> None:
        for code in model.operatorCodes:
            code.builtinCode = 0

    content = files.model_tflite.read_bytes()
    assert read_tflite(edited(content, edit)).operators == read_tflite(content).operators


def test_free_sizes(files: Any) -> None:
    def edit(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shapeSignature = [-1, 8, 8, 3]

    model = read_tflite(edited(files.model_tflite.read_bytes(), edit))
    assert model.inputs[0].shape == ("?", 8, 8, 3)


def image(model: Any) -> Any:
    return model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]


def change(**values: Any) -> Edit:
    def edit(model: Any) -> None:
        for name, value in values.items():
            setattr(image(model), name, value)

    return edit


def of_subgraph(**values: Any) -> Edit:
    def edit(model: Any) -> None:
        for name, value in values.items():
            setattr(model.subgraphs[0], name, value)

    return edit


def wrong_opcode(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 77


def no_subgraph(model: Any) -> None:
    model.subgraphs = []


def two_zero_points(model: Any) -> None:
    image(model).quantization.zeroPoint = [1, 2, 3]
    image(model).quantization.scale = [0.5, 0.5]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (of_subgraph(outputs=[99]), "an input or output is tensor 99 of"),
        (of_subgraph(inputs=[-1]), "an input or output is tensor -1 of"),
        (of_subgraph(outputs=[]), "it has no outputs"),
        (of_subgraph(outputs=[0] * 1_001), "1001 inputs or outputs are more than"),
        (no_subgraph, "it has no subgraph"),
        (wrong_opcode, "an operator is of the kind 77 of"),
        (change(shape=[1, -8, 8, 3]), r"'input' has the shape \[1, -8, 8, 3\]"),
        (change(shape=[1] * 65), "65 dimensions are more than"),
        (change(buffer=4_000), "in buffer 4000 of"),
        (two_zero_points, "2 scales and 3 zero points"),
    ],
)
def test_what_does_not_hold_together(files: Any, edit: Edit, said: str) -> None:
    with pytest.raises(Damaged, match=said):
        read_tflite(edited(files.model_tflite.read_bytes(), edit))


def test_types_that_nobody_knows(files: Any) -> None:
    content = edited(files.model_tflite.read_bytes(), change(type=77))
    assert read_tflite(content).inputs[0].dtype == "type 77"


def test_more_than_any_model_has(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = files.model_tflite.read_bytes()
    for limit, what in (
        ("MAX_TENSORS", "tensors"), ("MAX_OPERATORS", "operators"), ("MAX_BUFFERS", "buffers"),
        ("MAX_KINDS", "metadata"), ("MAX_SUBGRAPHS", "subgraphs"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(tflite_model, limit, 0)
            with pytest.raises(Damaged, match=f"{what} are more than any model has"):
                read_tflite(content)


def test_a_megabyte_of_one_table_comes_to_an_end() -> None:
    """A file whose list of subgraphs names the same large one over and over."""
    builder = flatbuffers.Builder(1 << 20)
    builder.StartObject(5)
    tensor = builder.EndObject()
    builder.StartVector(4, 90_000, 4)
    for _ in range(90_000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
    subgraph = builder.EndObject()
    builder.StartVector(4, 60, 4)
    for _ in range(60):
        builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(2, subgraphs, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    with pytest.raises(Damaged, match=r"more than 400000 tables|lie over one another"):
        read_tflite(bytes(builder.Output()))
