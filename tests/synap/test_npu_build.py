"""What the toolkit is handed, and what is made of its result. The toolkit is a test double."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from pipeline.errors import StageError
from pipeline.graph.file import load_graph, save_graph, set_preprocess
from pipeline.progress import Silent
from pipeline.recipe import Quantize
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.npu_build import build_for_npu
from pipeline.synap.toolkit_find import find_toolkit
from pipeline.targets import load_target


def crops_of(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def build(stand_ins: Any, graph: Path, folder: Path, count: int = 4, **options: Any) -> Any:
    stand_ins.converter()
    toolkit = find_toolkit("native", "image").found
    assert toolkit is not None
    folder.mkdir()
    return build_for_npu(
        toolkit=toolkit,
        target=load_target("sl1680"),
        graph=graph,
        options=Quantize(**options),
        crops=((crop[None], None) for crop in crops_of(count)),
        folder=folder,
        bundle="model.synap",
        progress=Silent(),
    )


def test_what_is_handed_over(stand_ins: Any, trio: Any, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    details = build(stand_ins, trio.graph, folder)
    assert details == {"calibration_images": 4, "toolkit_version": "3.2.0"}
    assert read_bundle(folder / "model.synap").delegates == ("npu",)
    model = onnx.load(folder / "model.onnx")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    images = sorted((folder / "calibration").iterdir())
    assert [p.name for p in images] == [f"{i:05}.png" for i in range(4)]
    np.testing.assert_array_equal(
        np.stack([np.asarray(Image.open(path)) for path in images]), crops_of(4)
    )
    metafile = yaml.safe_load((folder / "metafile.yaml").read_text())
    [image] = metafile["inputs"]
    assert (image["name"], image["shape"]) == ("input", [1, 3, 64, 64])
    assert (image["means"], image["scale"]) == ([127.5, 102.0, 114.75], 63.75)
    assert image["format"] == "rgb"
    assert metafile["quantization"]["dataset"] == ["calibration/*.png"]
    assert metafile["outputs"][0]["name"] == "logits"


@pytest.mark.parametrize(
    ("data_type", "scheme"),
    [
        ("uint8", "asymmetric_affine"),
        ("int8", "asymmetric_affine"),
        ("int8", "perchannel_symmetric_affine"),
    ],
)
def test_the_scheme_is_always_written(
    stand_ins: Any, trio: Any, tmp_path: Path, data_type: str, scheme: str
) -> None:
    folder = tmp_path / "build"
    build(stand_ins, trio.graph, folder, data_type=data_type, scheme=scheme)
    section = yaml.safe_load((folder / "metafile.yaml").read_text())["quantization"]
    assert (section["data_type"], section["scheme"]) == (data_type, scheme)


def test_a_model_that_came_out_as_float_is_refused(
    stand_ins: Any, trio: Any, tmp_path: Path
) -> None:
    stand_ins.fail("float")
    with pytest.raises(StageError, match="no quantized tensor"):
        build(stand_ins, trio.graph, tmp_path / "build")
    assert not (tmp_path / "build" / "model.synap").exists()


@pytest.mark.parametrize("how", ["exit1", "traceback", "no_output"])
def test_a_toolkit_that_fails(stand_ins: Any, trio: Any, tmp_path: Path, how: str) -> None:
    stand_ins.fail(how)
    with pytest.raises(StageError) as caught:
        build(stand_ins, trio.graph, tmp_path / "build")
    assert "Traceback" not in str(caught.value)
    assert not (tmp_path / "build" / "model.synap").exists()


def test_no_calibration_images_are_no_quantization(
    stand_ins: Any, trio: Any, tmp_path: Path
) -> None:
    with pytest.raises(StageError):
        build(stand_ins, trio.graph, tmp_path / "build", count=0)


def test_a_scale_for_every_channel_cannot_be_said(
    stand_ins: Any, trio: Any, tmp_path: Path
) -> None:
    model = load_graph(trio.graph)
    set_preprocess(model, trio.view.model_copy(update={"std": (0.229, 0.224, 0.225)}))
    save_graph(model, tmp_path / "m.onnx")
    with pytest.raises(StageError, match="one scale for all channels"):
        build(stand_ins, tmp_path / "m.onnx", tmp_path / "build")
