"""Which float Graphs are tried."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from pipeline.data.preprocess import Normalization, Preprocess
from pipeline.graph.file import load_graph, save_graph, set_preprocess
from pipeline.stages.quantize import graphs_to_try


def graph_with(std: tuple[float, float, float], path: Path) -> Path:
    """A Graph that carries this normalization."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, 8, 8]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 13)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    )
    model = load_graph(path)
    normalization = Normalization(mean=(0.5, 0.5, 0.5), std=std)
    set_preprocess(model, Preprocess(size=8).with_normalization(normalization))
    save_graph(model, path)
    return path


@pytest.mark.parametrize(
    ("std", "expected"),
    [((0.229, 0.224, 0.225), ["equalize"]), ((0.5, 0.5, 0.5), ["export", "equalize"])],
)
def test_the_graphs_own_deviations_tell_which_can_be_fed(
    std: tuple[float, float, float], expected: list[str], tmp_path: Path
) -> None:
    """An import takes the model's own normalization, of which the recipe knows nothing."""
    taken = {"graph": graph_with(std, tmp_path / "a.onnx"), "equalized": tmp_path / "b.onnx"}
    assert list(graphs_to_try(taken)) == expected


def test_without_equalize_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    assert graphs_to_try({"graph": path}) == {"export": path}
