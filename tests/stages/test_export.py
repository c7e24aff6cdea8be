"""The exported graph is the PyTorch model, on several real architectures of timm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pipeline.data.preprocess import Preprocess
from pipeline.errors import StageError
from pipeline.graph.canonical import check_canonical, fix_batch
from pipeline.graph.file import load_graph, preprocess_in
from pipeline.runners import open_runner

QUICK = ["test_resnet", "test_efficientnet", "test_byobnet", "test_convnext"]
SLOW = {
    "test_vit": 160, "mobilenetv2_035": 96, "mobilenetv3_small_050": 96, "resnet18": 96,
    "regnetx_002": 96, "mnasnet_small": 96, "densenet121": 96, "inception_v3": 299,
}  # fmt: skip

Exported = Callable[[str, int], tuple[Path, Path, Preprocess]]


@pytest.fixture(scope="module")
def exported(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The model's folder, its graph and its preprocessing, by architecture; each made once."""
    made: dict[str, tuple[Path, Path, Preprocess]] = {}

    def make(name: str, size: int) -> tuple[Path, Path, Preprocess]:
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            view = lab.view_of(size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
            folder = lab.save_architecture(name, root / "model", view)
            made[name] = folder, lab.export_graph(folder, view, root), view
        return made[name]

    return make


def assert_is_the_model(exported: Exported, lab: Any, name: str, size: int) -> None:
    folder, path, view = exported(name, size)
    crops = lab.crops_of(view, 9)
    expected = open_runner("torch", folder, view.normalization, 2)(crops)
    logits = open_runner("onnx", path, None, 2)(crops)
    assert expected.std(axis=0).max() > 1e-5 * np.abs(expected).max(), "images make no difference"
    assert np.abs(logits - expected).max() <= 1e-4 * max(1.0, float(np.abs(expected).max()))
    # The file itself, in one piece, one image at a time and in the order of its own names.
    model = load_graph(path)
    check_canonical(model)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 13)]
    assert proto.ir_version == 8
    assert preprocess_in(model, str(path)) == view
    assert {n.op_type for n in proto.graph.node}.isdisjoint(
        {"BatchNormalization", "Constant", "Identity", "Dropout", "LayerNormalization"}
    )
    names = [n.name for n in proto.graph.node]
    assert len(set(names)) == len(names) and max(map(len, names)) <= 24
    fix_batch(model, 1)
    for value in (*model.graph.inputs, *model.graph.outputs):
        assert value.shape is not None
        assert all(isinstance(side, int) for side in value.shape), value
    assert b"batch" not in b"".join(
        shape.dim_param.encode()
        for info in ir.to_proto(model).graph.value_info
        for shape in info.type.tensor_type.shape.dim
    )


@pytest.mark.parametrize("name", QUICK)
def test_small_architectures(exported: Exported, lab: Any, name: str) -> None:
    assert_is_the_model(exported, lab, name, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_more_architectures(exported: Exported, lab: Any, name: str) -> None:
    assert_is_the_model(exported, lab, name, SLOW[name])


@pytest.mark.parametrize("name", QUICK)
def test_the_pool_before_the_classifier_keeps_its_kind(exported: Exported, name: str) -> None:
    _, path, _ = exported(name, 64)
    kinds = [n.op_type for n in onnx.load(path).graph.node]
    assert kinds.count("GlobalAveragePool") >= 1


def test_the_batch_size_is_free(exported: Exported, lab: Any) -> None:
    _, path, view = exported("test_resnet", 64)
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, 64, 64]
    crops = lab.crops_of(view, 5)
    runner = open_runner("onnx", path, None, 1)
    alone = np.concatenate([runner(crops[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(runner(crops), alone, rtol=1e-5, atol=1e-5)


def test_exporting_again_gives_the_same_file(exported: Exported, lab: Any, tmp_path: Path) -> None:
    folder, path, view = exported("test_resnet", 64)
    again = lab.export_graph(folder, view, tmp_path)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in again.parent.iterdir()) == ["model.onnx"], "no scratch is left"


def test_weights_that_are_normalized_on_the_way(exported: Exported) -> None:
    # NFNet standardizes its weights by a batch norm in training mode, which does not fold away.
    with pytest.raises(StageError, match="BatchNormalization '/stem/conv1/BatchNormalization' "):
        exported("test_nfnet", 64)
