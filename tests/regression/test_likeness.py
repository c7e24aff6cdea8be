"""What is refused, with the thing that differs, and what is only said."""

import json
from typing import Any

import pytest

OTHER = "b" * 64


def setter(*path: str, value: Any) -> Any:
    def change(report: Any) -> None:
        for key in path[:-1]:
            report = report[key]
        report[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (("data", "evaluation", "sha256"), OTHER, "evaluation images (digest)"),
        (("data", "preprocess", "crop"), 0.875, "preprocessing, crop"),
        (("data", "preprocess", "mean"), [0.1, 0.5, 0.5], "preprocessing, mean"),
        (("recipe",), "another", "recipe"),
        (("target",), "sl1640", "target"),
        (("target",), None, "target"),
        (("compile", "delegate"), "npu", "delegate"),
        (("environment", "machine"), "riscv64", "CPU, which integer results depend on"),
    ],
)
def test_unlike_things_are_refused(desk: Any, path: Any, value: Any, what: str) -> None:
    result = desk.gate(setter(*path, value=value))
    assert (result.verdict, result.exit_code, result.rows) == ("REFUSED", 2, ())
    assert [difference.what for difference in result.refused] == [what]


def test_a_cpu_of_another_kind(desk: Any) -> None:
    ours = desk.original["environment"]["cpu_features"]
    exact = {"avx512_vnni", "avx_vnni", "amx_int8"}
    if desk.original["environment"]["machine"] not in ("x86_64", "AMD64"):
        pytest.skip("the kinds of x86 need an x86 report")
    other = ["avx2"] if exact & {*ours} else ["avx2", "avx_vnni"]
    change = setter("environment", "cpu_features", value=other)
    result = desk.gate(change)
    assert [difference.what for difference in result.refused] == [
        "CPU, which integer results depend on"
    ]
    assert desk.gate(change, any_cpu=True).verdict == "PASS"


def test_a_cpu_of_another_kind_does_not_matter_to_float_models(desk: Any) -> None:
    def float_only(report: Any) -> None:
        report["stages"] = [s for s in report["stages"] if s["name"] in ("weights", "export")]
        report["compile"] = report["target"] = None

    def elsewhere(report: Any) -> None:
        float_only(report)
        report["environment"] |= {"machine": "aarch64", "cpu_features": []}

    desk.gate(float_only, accept_it=True)
    result = desk.gate(elsewhere)
    assert result.verdict == "PASS"
    assert "machine" in [note.what for note in result.notes]


def test_all_differences_are_said_at_once(desk: Any, changes: Any) -> None:
    in_stage, both = changes
    result = desk.gate(
        both(
            setter("data", "evaluation", "sha256", value=OTHER),
            setter("data", "preprocess", "size", value=99),
            in_stage("compile", evidence="board"),
            in_stage("quantize", images=7),
        )
    )
    images = desk.original["data"]["evaluation"]["images"]
    assert [str(difference) for difference in result.refused][1:] == [
        "preprocessing, size: 64 in the baseline, 99 now",
        "evidence of compile: measured in the baseline, board now",
        f"number of images of quantize: {images} in the baseline, 7 now",
    ]


def test_what_makes_the_model_is_judged_and_said(desk: Any, changes: Any) -> None:
    _, both = changes
    versions = {**desk.original["environment"]["versions"], "onnxruntime": "0.0.1"}
    result = desk.gate(
        both(
            setter("data", "calibration", "sha256", value=OTHER),
            setter("environment", "versions", value=versions),
            setter("compile", "handoff", value="onnx"),
            setter("environment", "threads", value=64),
        )
    )
    assert result.verdict == "PASS"
    assert [note.what for note in result.notes] == [
        "calibration images (digest)", "hand-over", "threads", "onnxruntime",
    ]  # fmt: skip


def test_targets_share_a_baseline(desk: Any) -> None:
    other = setter("target", value="sl1640")
    assert desk.gate(other).verdict == "REFUSED"
    assert desk.gate(other, accept_it=True).verdict == "PASS"
    assert desk.gate(other).verdict == desk.gate().verdict == "PASS"
    assert sorted(json.loads(desk.baseline.read_text())["targets"]) == ["sl1640", "sl1680"]
