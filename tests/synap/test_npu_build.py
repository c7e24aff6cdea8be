"""What the toolkit is handed, and how what it made is judged. The toolkit is a test double."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from pipeline.errors import StageError, UsageError
from pipeline.graph.file import load_graph, preprocess_in, save_graph, set_preprocess
from pipeline.lower.render import render_tflite
from pipeline.progress import Silent
from pipeline.quant.make_plan import make_plan, placement_for
from pipeline.quant.observe import observe
from pipeline.quant.plan import Plan
from pipeline.recipe import Compile, Quantize, Ranges
from pipeline.store import Store
from pipeline.synap.bundle_read import read_bundle
from pipeline.synap.hand_over import Handed, hand_over_onnx, hand_over_tflite
from pipeline.synap.npu_build import build_for_npu
from pipeline.synap.toolkit_find import find_toolkit
from pipeline.targets import load_target


def crops_of(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


class Model(NamedTuple):
    graph: Path
    plan: Plan
    tflite: Path


def quantized(graph: Path, folder: Path, **options: Any) -> Model:
    """A Plan and its TFLite, made as the stages make them."""
    model, quantize = load_graph(graph), Quantize(**options)
    normalization = preprocess_in(model, "").normalization
    tensors = placement_for(model, quantize).observed
    seen = observe(model, tensors, normalization, [crops_of(4)], 1)
    plan = make_plan(model, "0" * 64, normalization, seen, quantize, Ranges(rule="minmax"))
    (folder / "given.tflite").write_bytes(render_tflite(model, plan, None))
    return Model(graph, plan, folder / "given.tflite")


@pytest.fixture
def model(trio: Any, tmp_path: Path) -> Model:
    return quantized(trio.graph, tmp_path)


def as_tflite(folder: Path, model: Model, own: Path | None = None, **options: Any) -> Handed:
    folder.mkdir()
    return hand_over_tflite(folder, model.tflite, model.plan.normalization, Compile(**options), own)


def as_onnx(
    folder: Path, graph: Path, count: int = 4, own: Path | None = None, **quantize: Any
) -> Handed:
    folder.mkdir()
    crops = ((crop[None], None) for crop in crops_of(count))
    return hand_over_onnx(folder, graph, Quantize(**quantize), crops, Compile(handoff="onnx"), own)


def build(stand_ins: Any, folder: Path, handed: Handed, plan: Plan, target: str = "sl1680") -> Any:
    stand_ins.converter()
    toolkit = find_toolkit("native", "image").found
    assert toolkit is not None
    return build_for_npu(
        toolkit=toolkit,
        target=load_target(target),
        handed=handed,
        plan=plan,
        folder=folder,
        bundle="model.synap",
        progress=Silent(),
    )


SAME_PICTURE = "inputs: [{means: [127.5, 102, 114.75], scale: 63.75, format: rgb}]\n"
"""How the small Graph is measured, in a metafile's words."""


def metafile_in(folder: Path) -> Any:
    return yaml.safe_load((folder / "metafile.yaml").read_text())


def test_the_integer_model_is_handed_over_as_it_is(model: Model, tmp_path: Path) -> None:
    handed = as_tflite(tmp_path / "b", model)
    assert (handed.format, handed.by_toolkit) == ("tflite", False)
    assert (tmp_path / "b" / "model.tflite").read_bytes() == model.tflite.read_bytes()
    metafile = metafile_in(tmp_path / "b")
    assert "quantization" not in metafile
    [image], normalization = metafile["inputs"], model.plan.normalization
    assert image["means"] == pytest.approx([255 * mean for mean in normalization.mean], abs=1e-5)
    assert image["scale"] == pytest.approx(255 * normalization.std[0], abs=1e-5)


def test_the_float_model_goes_with_pictures_and_a_scheme(trio: Any, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    as_onnx(folder, trio.graph)
    graph = onnx.load(folder / "model.onnx").graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    images = sorted((folder / "calibration").iterdir())
    assert [p.name for p in images] == [f"{i:05}.png" for i in range(4)]
    np.testing.assert_array_equal(
        np.stack([np.asarray(Image.open(path)) for path in images]), crops_of(4)
    )
    metafile = metafile_in(folder)
    [image] = metafile["inputs"]
    assert (image["name"], image["shape"]) == ("input", [1, 3, 64, 64])
    assert (image["means"], image["scale"]) == ([127.5, 102.0, 114.75], 63.75)
    assert image["format"] == "rgb"
    assert metafile["quantization"] == {
        "dataset": ["calibration/*.png"], "data_type": "uint8", "scheme": "asymmetric_affine",
    }  # fmt: skip
    assert metafile["outputs"][0]["name"] == "logits"


@pytest.mark.parametrize(
    ("options", "data_type"),
    [
        ({"data_type": "int8", "scheme": "asymmetric_affine"}, "int8"),
        ({"data_type": "int8", "scheme": "perchannel_symmetric_affine"}, "int8"),
        ({"data_type": "int16", "scheme": "dynamic_fixed_point"}, "int16"),
        ({"layers": {"conv2": "int16"}}, {"*": "uint8", "conv2": "int16"}),
    ],
)
def test_types_and_scheme_are_always_written(
    trio: Any, tmp_path: Path, options: Any, data_type: Any
) -> None:
    as_onnx(tmp_path / "b", trio.graph, **options)
    section = metafile_in(tmp_path / "b")["quantization"]
    assert section["data_type"] == data_type
    assert section["scheme"] == options.get("scheme", "asymmetric_affine")


def test_the_recipes_words_for_the_npus_input_and_output(model: Model, tmp_path: Path) -> None:
    as_tflite(
        tmp_path / "b", model, preprocess={"type": "nv12", "size": (480, 640), "crop": True},
        dequantize_outputs=True, output_format="confidence_array",
    )  # fmt: skip
    metafile = metafile_in(tmp_path / "b")
    assert metafile["inputs"][0]["preprocess"] == {
        "type": "nv12", "size": [480, 640], "crop": True,
    }  # fmt: skip
    assert metafile["outputs"] == [{"dequantize": True, "format": "confidence_array"}]


def test_a_metafile_of_the_users_is_taken_as_it_is(model: Model, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("# mine\ninputs: [{means: [127.5, 102, 114.75], scale: 63.75}]\n")
    as_tflite(tmp_path / "b", model, own)
    assert (tmp_path / "b" / "metafile.yaml").read_text() == own.read_text()


def test_a_metafile_of_the_users_keeps_the_rules(trio: Any, model: Model, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("inputs: [{scale: 0}]\n")
    with pytest.raises(UsageError, match=r"own.yaml:1.*scale"):
        as_tflite(tmp_path / "b", model, own)
    own.write_text(
        "inputs: [{means: [127.5, 102, 114.75], scale: 63.75}]\n"
        "quantization: {dataset: [mine/*.png], scheme: asymmetric_affine}\n"
    )
    with pytest.raises(StageError, match="finds no file"):
        as_onnx(tmp_path / "c", trio.graph, own=own)


def test_no_calibration_images_are_no_quantization(trio: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="finds no file"):
        as_onnx(tmp_path / "b", trio.graph, count=0)


def test_a_scale_for_every_channel_cannot_be_said(trio: Any, tmp_path: Path) -> None:
    graph = load_graph(trio.graph)
    set_preprocess(graph, trio.view.model_copy(update={"std": (0.229, 0.224, 0.225)}))
    save_graph(graph, tmp_path / "m.onnx")
    with pytest.raises(StageError, match="one scale for all channels"):
        as_onnx(tmp_path / "b", tmp_path / "m.onnx")


@pytest.mark.parametrize("target", ["sl1680", "sl1640"])
@pytest.mark.parametrize("data_type", ["uint8", "int8"])
def test_a_sound_build(
    stand_ins: Any, trio: Any, tmp_path: Path, target: str, data_type: str
) -> None:
    model = quantized(trio.graph, tmp_path, data_type=data_type)
    handed = as_tflite(tmp_path / "b", model)
    details = build(stand_ins, tmp_path / "b", handed, model.plan, target)
    assert details["faults"] == []
    assert details["toolkit_version"] == "3.2.0"
    assert "scales, zero points and means as handed over" in details["verified"]
    assert f"built for {target.upper()}" in details["verified"]
    assert "anything on hardware" in details["not_verified"]
    assert read_bundle(tmp_path / "b" / "model.synap").delegates == ("npu",)


def test_a_sound_build_that_the_toolkit_quantized(
    stand_ins: Any, trio: Any, model: Model, tmp_path: Path
) -> None:
    handed = as_onnx(tmp_path / "b", trio.graph)
    details = build(stand_ins, tmp_path / "b", handed, model.plan)
    assert details["faults"] == []
    assert "the toolkit's listing says quantized" in details["verified"]
    assert not any("as handed over" in line for line in details["verified"])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("float", "came out as float"),
        ("other_target", "is for VS640, not for VS680"),
        ("requantized", "was quantized again"),
        ("no_listing", "no model_info.txt"),
    ],
)
def test_a_result_that_is_not_what_was_asked_for(
    stand_ins: Any, model: Model, tmp_path: Path, how: str, said: str
) -> None:
    handed = as_tflite(tmp_path / "b", model)
    stand_ins.fail(how)
    details = build(stand_ins, tmp_path / "b", handed, model.plan)
    assert any(said in fault for fault in details["faults"]), details["faults"]


def test_a_float_model_with_a_metafile_of_the_users(
    stand_ins: Any, trio: Any, model: Model, tmp_path: Path
) -> None:
    """Which need not name any sizes."""
    own = tmp_path / "own.yaml"
    own.write_text(
        f"{SAME_PICTURE}quantization: {{dataset: [calibration/*.png], scheme: asymmetric_affine}}\n"
    )
    handed = as_onnx(tmp_path / "b", trio.graph, own=own)
    details = build(stand_ins, tmp_path / "b", handed, model.plan)
    assert details["faults"] == []
    assert "the model's input size and class count" in details["verified"]


def test_a_float_result_of_the_float_model(
    stand_ins: Any, trio: Any, model: Model, tmp_path: Path
) -> None:
    handed = as_onnx(tmp_path / "b", trio.graph)
    stand_ins.fail("float")
    faults = build(stand_ins, tmp_path / "b", handed, model.plan)["faults"]
    assert any("came out as float" in fault for fault in faults)


def test_an_output_that_was_to_be_real_numbers(
    stand_ins: Any, model: Model, tmp_path: Path
) -> None:
    handed = as_tflite(tmp_path / "b", model, dequantize_outputs=True)
    assert build(stand_ins, tmp_path / "b", handed, model.plan)["faults"] == []


@pytest.mark.parametrize("outputs", ["", "outputs: [{dequantize: false}]\n"])
def test_all_outputs_that_were_to_be_real_numbers(
    stand_ins: Any, model: Model, tmp_path: Path, outputs: str
) -> None:
    """The toolkit takes either word for it (`_add_postprocessing`)."""
    own = tmp_path / "own.yaml"
    own.write_text(f"{SAME_PICTURE}dequantize_outputs: true\n{outputs}")
    handed = as_tflite(tmp_path / "b", model, own)
    assert build(stand_ins, tmp_path / "b", handed, model.plan)["faults"] == []
    assert read_bundle(tmp_path / "b" / "model.synap").outputs[0].quantizer is None


def test_a_metafile_that_says_nothing_of_the_input(
    stand_ins: Any, trio: Any, tmp_path: Path
) -> None:
    graph = load_graph(trio.graph)
    set_preprocess(graph, trio.view.model_copy(update={"mean": (0.5,) * 3, "std": (0.5,) * 3}))
    save_graph(graph, tmp_path / "m.onnx")
    model, own = quantized(tmp_path / "m.onnx", tmp_path), tmp_path / "own.yaml"
    own.write_text("delegate: npu\n")
    handed = as_tflite(tmp_path / "b", model, own)
    details = build(stand_ins, tmp_path / "b", handed, model.plan)
    assert details["faults"] == []
    assert "scales and zero points as handed over" in details["verified"]
    assert (
        "the input's means and scale, which the toolkit was left or compiled in"
        in (details["not_verified"])
    )


def respelled(bundle: Path, change: Any) -> None:
    """The bundle with its meta or model changed."""
    with zipfile.ZipFile(bundle) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def in_meta(**fields: Any) -> Any:
    def change(entries: Any) -> None:
        meta = json.loads(entries["0/model.json"])
        for name, value in fields.items():
            if name == "delegate":
                meta["delegate"] = value
            else:
                meta["Inputs"]["input_0"][name] = value
        entries["0/model.json"] = json.dumps(meta).encode()

    return change


def in_scores(**fields: Any) -> Any:
    def change(entries: Any) -> None:
        meta = json.loads(entries["0/model.json"])
        meta["Outputs"]["output_0"] |= fields
        entries["0/model.json"] = json.dumps(meta).encode()

    return change


def in_model(start: int, content: bytes) -> Any:
    def change(entries: Any) -> None:
        model = bytearray(entries["0/model.nb"])
        model[start : start + len(content)] = content
        entries["0/model.nb"] = bytes(model)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_meta(delegate="onnx cpu=1 "), "delegate 'onnx cpu=1 ', not the NPU"),
        (in_meta(mean=[1.0, 2.0, 3.0]), "input's means came back as"),
        (in_meta(scale=1.0), "input's scale came back as"),
        (in_meta(shape=[1, 32, 64, 3]), r"the input is [1, 32, 64, 3], not one of 64 x 64 pixels"),
        (in_meta(shape=[1, 64, 64, 1]), r"the input is [1, 64, 64, 1]"),
        (in_meta(shape=[64]), r"the input is [64]"),
        (in_scores(shape=[1, 7]), r"the output is [1, 7], not one of 10 classes"),
        (in_scores(shape=[2, 5]), r"the output is [2, 5]"),
        (in_scores(shape=[]), r"the output is [], not"),
        (in_meta(quantize={"qtype": "u8"}), "no scale"),
        (in_meta(quantizer="none"), "came out as float"),
        (in_model(0, b"ELF!"), "not an NPU model"),
        (in_model(36 + 4 + 64 + 12, struct.pack("<3I", 2, 1, 1)), "has 2 inputs"),
    ],
)
def test_a_bundle_that_differs_from_what_was_handed_over(
    stand_ins: Any, model: Model, tmp_path: Path, change: Any, said: str
) -> None:
    from pipeline.synap.build_check import check_build

    handed = as_tflite(tmp_path / "b", model)
    build(stand_ins, tmp_path / "b", handed, model.plan)
    bundle, out = tmp_path / "b" / "model.synap", tmp_path / "b" / "out"
    listings = [out / "model_info.txt"]
    assert check_build(bundle, listings, handed, load_target("sl1680")).faults == ()
    respelled(bundle, change)
    found = check_build(bundle, listings, handed, load_target("sl1680"))
    assert any(said in fault for fault in found.faults), found.faults


@pytest.mark.parametrize(
    "change",
    [
        in_meta(shape=[1, 3, 64, 64], format="nchw"),
        in_scores(shape=[10]),
        in_scores(shape=[1, 10, 1, 1]),
    ],
)
def test_the_same_sizes_in_another_layout(
    stand_ins: Any, model: Model, tmp_path: Path, change: Any
) -> None:
    from pipeline.synap.build_check import check_build

    handed = as_tflite(tmp_path / "b", model)
    build(stand_ins, tmp_path / "b", handed, model.plan)
    bundle = tmp_path / "b" / "model.synap"
    respelled(bundle, change)
    listings = [tmp_path / "b" / "out" / "model_info.txt"]
    found = check_build(bundle, listings, handed, load_target("sl1680"))
    assert found.faults == ()
    assert "the model's input size and class count" in found.verified


def test_a_conversion_on_the_npu_has_a_size_of_its_own(
    stand_ins: Any, model: Model, tmp_path: Path
) -> None:
    from pipeline.synap.build_check import check_build

    handed = as_tflite(tmp_path / "b", model, preprocess={"type": "rgb", "size": (480, 640)})
    build(stand_ins, tmp_path / "b", handed, model.plan)
    bundle = tmp_path / "b" / "model.synap"
    respelled(bundle, in_meta(shape=[1, 480, 640, 3]))
    listings = [tmp_path / "b" / "out" / "model_info.txt"]
    found = check_build(bundle, listings, handed, load_target("sl1680"))
    assert found.faults == ()
    assert "the input's size, in front of which the NPU converts pictures" in found.not_verified


@pytest.mark.parametrize(("kind", "faults"), [("nv12", 0), ("none", 1)])
def test_a_picture_in_planes_is_several_inputs(
    stand_ins: Any, model: Model, tmp_path: Path, kind: str, faults: int
) -> None:
    from pipeline.synap.build_check import check_build

    def in_planes(entries: Any) -> None:
        meta = json.loads(entries["0/model.json"])
        image = meta["Inputs"]["input_0"]
        meta["Inputs"]["input_1"] = {**image, "id": 1}
        entries["0/model.json"] = json.dumps(meta).encode()
        graph = json.loads(entries["bundle.json"])
        graph["graph"][0]["inputs"].append({"subgraph": -1, "out": 1})
        entries["bundle.json"] = json.dumps(graph).encode()

    preprocess = {"type": kind, "size": (480, 640)}
    handed = as_tflite(tmp_path / "b", model, preprocess=preprocess)
    build(stand_ins, tmp_path / "b", handed, model.plan)
    bundle = tmp_path / "b" / "model.synap"
    respelled(bundle, in_planes)
    listings = [tmp_path / "b" / "out" / "model_info.txt"]
    found = check_build(bundle, listings, handed, load_target("sl1680"))
    assert sum("has 2 inputs and 1 outputs" in fault for fault in found.faults) == faults


def test_hardware_of_an_unknown_number_is_said_to_be_unseen(
    stand_ins: Any, model: Model, tmp_path: Path
) -> None:
    from pipeline.synap.build_check import check_build

    handed = as_tflite(tmp_path / "b", model)
    build(stand_ins, tmp_path / "b", handed, model.plan)
    bundle = tmp_path / "b" / "model.synap"
    respelled(bundle, in_model(36, (0x77).to_bytes(4, "little")))
    listings = [tmp_path / "b" / "out" / "model_info.txt"]
    found = check_build(bundle, listings, handed, load_target("sl1680"))
    assert found.faults == ()
    assert any("hardware is not known" in line for line in found.not_verified)


@pytest.mark.parametrize("how", ["exit1", "traceback", "no_output"])
def test_a_toolkit_that_fails(stand_ins: Any, model: Model, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "store" / "compile" / "b"
    folder.parent.mkdir(parents=True)
    handed = as_tflite(folder, model)
    stand_ins.fail(how)
    with pytest.raises(StageError) as caught:
        build(stand_ins, folder, handed, model.plan)
    assert "Traceback" not in str(caught.value)
    assert not (folder / "model.synap").exists()


def test_the_log_of_a_failure_outlives_it(stand_ins: Any, model: Model, tmp_path: Path) -> None:
    """The store removes the folder of what was not made."""
    store = Store(tmp_path / "store", pytest.fail)
    log = tmp_path / "store" / "logs" / "compile-sl1680.log"

    def make(folder: Path) -> Any:
        folder.rmdir()  # as_tflite makes its own
        handed = as_tflite(folder, model)
        return build(stand_ins, folder, handed, model.plan)

    for how, said in (("exit1", "Layer name 'conv7' not in"), ("traceback", "attach_conv1/out0_0")):
        stand_ins.fail(how)
        with pytest.raises(StageError) as caught:
            store.get("compile", {"how": how}, make)
        assert caught.value.hint == f"all of its output is in {log}"
        assert said in log.read_text()
    assert [path.name for path in log.parent.iterdir()] == [log.name], (
        "the next failure's replaces it"
    )
    assert not list((tmp_path / "store" / "compile").glob("*.partial"))
