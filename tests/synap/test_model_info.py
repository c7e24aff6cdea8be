"""The toolkit's listing: what it says, and whether the model is quantized."""

from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.synap.model_info import read_model_info, require_quantized

# As the toolkit 3.2.0 wrote it for a small ONNX with `delegate: cpu`.
FLOAT = f"""\
Model converted with SyNAP toolkit 3.2.0

inputs:
  - name: input
    shape: [1, 3, 8, 8]
    type: float32

outputs:
  - name: logits
    shape: [1, 4]
    type: float32

subgraphs: 1


{"=" * 100}
Detailed input/output information for subgraph_0:

secure: false
delegate: 'onnx cpu=1 '
inputs:
  - name: input
    shape: [1, 3, 8, 8]
    layout: nchw
    format: rgb
    type: float32
    security: any
outputs:
  - name: logits
    shape: [1, 4]
    layout: nchw
    format: confidence_array
    type: float32
    security: secure-if-input-secure


"""
QUANTIZED = FLOAT.replace(
    "    type: float32\n    security: any",
    "    type: uint8\n    quantization: {scheme: asymmetric_affine, scale: 0.0078, zero_point: 128}",
)
TWO = (
    QUANTIZED
    + FLOAT[FLOAT.index("=" * 100) :].replace("subgraph_0", "subgraph_1")
    + f"{'=' * 100}\nDetailed graph information for subgraph_0:\nnot: [yaml"
)


def listing(folder: Path, text: str) -> Path:
    path = folder / "model_info.txt"
    path.write_text(text)
    return path


def test_a_float_model(tmp_path: Path) -> None:
    info = read_model_info(listing(tmp_path, FLOAT))
    assert info.version == "3.2.0"
    assert [(t.name, t.type, t.quantization) for t in info.inputs] == [("input", "float32", "")]
    assert not info.is_quantized


def test_a_quantized_model(tmp_path: Path) -> None:
    info = read_model_info(listing(tmp_path, QUANTIZED))
    assert info.inputs[0].quantization == "asymmetric_affine"
    assert info.is_quantized


def test_every_subgraph_is_read_and_the_graph_listing_is_not(tmp_path: Path) -> None:
    info = read_model_info(listing(tmp_path, TWO))
    assert [t.type for t in info.inputs] == ["uint8", "float32"]
    assert len(info.outputs) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a listing"),
        ("Model converted with SyNAP toolkit 3.2.0\n", "not a listing"),
        (FLOAT.removeprefix("Model"), "not a listing"),
        (FLOAT.replace("secure: false", "secure: [false"), "its description of subgraph_0"),
        (FLOAT.replace("secure: false", "- a"), "its description of subgraph_0"),
        (FLOAT.replace("outputs:", "outputs: none\nrest:"), "its tensors of subgraph_0"),
        (
            FLOAT.replace("  - name: logits\n    shape", "  - name\n  - shape"),
            "its tensors|its desc",
        ),
    ],
)
def test_what_is_no_listing(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StageError, match=said):
        read_model_info(listing(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cannot be read"):
        read_model_info(tmp_path / "none.txt")
    with pytest.raises(StageError, match=r"left no model_info.txt"):
        require_quantized([], by_toolkit=False)


def test_a_model_that_has_to_be_quantized(tmp_path: Path) -> None:
    quantized = listing(tmp_path, QUANTIZED)
    assert require_quantized([quantized], by_toolkit=False).is_quantized
    record = tmp_path / "quantization_info.yaml"
    for listings in ([quantized], [quantized, record]):
        record.write_text("")
        with pytest.raises(StageError, match="left no record of a quantization"):
            require_quantized(listings, by_toolkit=True)
    record.write_text("something")
    assert require_quantized([quantized, record], by_toolkit=True).is_quantized


def test_a_float_model_that_should_have_been_quantized(tmp_path: Path) -> None:
    path = listing(tmp_path, FLOAT)
    with pytest.raises(StageError, match=r"a float model \(input float32, logits") as caught:
        require_quantized([path], by_toolkit=False)
    assert "100 times slower" in caught.value.hint
