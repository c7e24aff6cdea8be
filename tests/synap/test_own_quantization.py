"""The hand-over `onnx` from end to end: the toolkit, a test double, quantizes by itself and leaves its
table, which is compared and replayed."""

import json
from typing import Any

import numpy as np
import pytest

from pipeline.graph.file import load_graph, preprocess_in, save_graph
from pipeline.progress import Silent
from pipeline.quant.plan import load_plan
from pipeline.recipe import Compile, Quantize
from pipeline.runners import open_runner
from pipeline.synap.hand_over import hand_over_onnx
from pipeline.synap.npu_build import build_for_npu
from pipeline.synap.toolkit_find import find_toolkit
from pipeline.targets import load_target

CROPS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
ASKED = "the toolkit's own table has the types and schemes that were asked for"


@pytest.fixture
def built(
    stand_ins: Any, network: Any, plan_of: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """`built(changes, **quantize)`: the details of a build, with the double's table changed so."""

    def make(changes: Any = None, **quantize: Any) -> Any:
        graph, folder = tmp_path / "graph.onnx", tmp_path / "b"
        save_graph(network, graph)
        folder.mkdir()
        options, crops = Quantize(**quantize), ((crop[None], None) for crop in CROPS)
        handed = hand_over_onnx(folder, graph, options, crops, Compile(handoff="onnx"), None)
        monkeypatch.setenv("SYNAP_STAND_IN_TABLE", json.dumps(changes or {}))
        stand_ins.converter()
        toolkit = find_toolkit("native", "image").found
        assert toolkit is not None
        return build_for_npu(
            toolkit=toolkit,
            target=load_target("sl1680"),
            handed=handed,
            plan=plan_of(**quantize),
            folder=folder,
            bundle="model.synap",
            progress=Silent(),
            graph=graph,
        )

    return make


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({}, 25),
        ({"data_type": "int8"}, 25),
        ({"data_type": "int8", "scheme": "perchannel_symmetric_affine"}, 25),
        ({"data_type": "int8", "scheme": "dynamic_fixed_point"}, 18),
        ({"data_type": "int16", "scheme": "dynamic_fixed_point"}, 60),
        ({"layers": {"conv2": "int16"}}, 25),
        ({"layers": {"conv2": "float16"}}, 25),
    ],
    ids=str,
)
def test_a_sound_quantization_is_replayed(
    built: Any, tmp_path: Any, options: Any, least: float
) -> None:
    details = built(**options)
    assert details["faults"] == []
    assert ASKED in details["verified"]
    assert details["not_verified"] == ["anything on hardware"]
    stand_in = details["stand_in"]
    assert (stand_in["file"], stand_in["format"]) == ("replay.onnx", "qdq-onnx")
    assert "the image's means are not cut to whole numbers" in stand_in["assumptions"]
    plan = load_plan(tmp_path / "b" / "replay.json")
    assert {t.source for t in plan.activations.values()} == {"quantization_info.yaml"}
    float_model = open_runner("onnx", tmp_path / "graph.onnx", None, 1)(CROPS)
    ours = open_runner("qdq-onnx", tmp_path / "b" / "replay.onnx", None, 1)(CROPS)
    noise = 10 * np.log10((float_model**2).sum() / ((float_model - ours) ** 2).sum())
    assert least < noise < 120


def test_the_replay_normalizes_as_the_graph_does(built: Any, network: Any, tmp_path: Any) -> None:
    built()
    replayed = preprocess_in(load_graph(tmp_path / "b" / "replay.onnx"), "")
    assert replayed.normalization == preprocess_in(network, "").normalization


def test_bad_ranges_show_in_the_replay(built: Any, tmp_path: Any) -> None:
    """What the toolkit chose is what is run, not what our Plan has."""
    details = built({"given": {"add1:out0": {"scale": 5.0, "zero_point": 128}}})
    assert any("scales more than 2 times off ours: add1" in n for n in details["not_verified"])
    float_model = open_runner("onnx", tmp_path / "graph.onnx", None, 1)(CROPS)
    ours = open_runner("qdq-onnx", tmp_path / "b" / "replay.onnx", None, 1)(CROPS)
    noise = 10 * np.log10((float_model**2).sum() / ((float_model - ours) ** 2).sum())
    assert noise < 15


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"float": ["conv2"]}, "weights left in float that were to be uint8: conv2_weight"),
        (
            {"types": {"conv2": "i16"}},
            "uint8 was asked for, int16 came out (weights): conv2_weight",
        ),
    ],
)
def test_what_was_not_done_as_asked_is_a_fault_and_still_replayed(
    built: Any, changes: Any, said: str
) -> None:
    details = built(changes)
    assert said in details["faults"]
    assert ASKED not in details["verified"]
    assert details["stand_in"]["file"] == "replay.onnx"


@pytest.mark.parametrize(
    ("changes", "reason", "noted"),
    [
        ({"drop": ["relu1:out0"]}, "cannot be replayed: the table has no entry for: relu1",
         "results that the toolkit's table does not have: relu1"),
        ({"raw": "nothing"}, "quantization_info.yaml cannot be read: is not a table of tensors",
         "quantization_info.yaml cannot be read: is not a table of tensors"),
        ({"given": {"conv1:bias": {"scale": 1000.0}}}, "the bias is not int32 at the scale of", ""),
    ],
)  # fmt: skip
def test_no_replay_and_why(
    built: Any, tmp_path: Any, changes: Any, reason: str, noted: str
) -> None:
    details = built(changes)
    assert details["faults"] == []
    assert reason in details["stand_in"]["reason"]
    assert any(noted in line for line in details["not_verified"])
    assert not (tmp_path / "b" / "replay.onnx").exists()


def test_a_bias_that_does_not_fit(built: Any) -> None:
    tiny = {"scale": 1e-15, "zero_point": 128}
    details = built({"given": {"input:out0": tiny}, "drop": ["conv1:bias"]})
    assert "the bias of conv1 does not fit into int32" in details["stand_in"]["reason"]


def test_no_table_at_all(built: Any, stand_ins: Any) -> None:
    stand_ins.fail("no_table")
    details = built()
    assert any("no record of a quantization" in fault for fault in details["faults"])
    assert details["stand_in"] == {"reason": "the toolkit left no table of its own quantization"}


def test_a_table_without_headings(built: Any) -> None:
    assert built({"bare": True})["stand_in"]["file"] == "replay.onnx"
