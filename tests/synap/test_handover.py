"""Which delegate, by which toolkit, and what is said where there is none."""

from typing import Any

import pytest

from pipeline.recipe import Compile
from pipeline.synap.handover import CPU_NOTICE, decide_handover


def test_the_cpu_delegate_needs_nothing(stand_ins: Any) -> None:
    handover = decide_handover(Compile(delegate="cpu"))
    assert (handover.delegate, handover.toolkit, handover.missing) == ("cpu", None, None)
    assert (handover.form, handover.fallback) == ("qdq-onnx", "")


def test_the_cpu_delegate_is_chosen_even_with_a_toolkit(stand_ins: Any) -> None:
    stand_ins.converter()
    assert decide_handover(Compile(delegate="cpu")).toolkit is None


def test_a_toolkit_on_the_path(stand_ins: Any) -> None:
    stand_ins.converter()
    handover = decide_handover(Compile())
    assert handover.toolkit is not None
    assert (handover.delegate, handover.form, handover.toolkit.kind) == ("npu", "tflite", "native")
    assert (handover.missing, handover.fallback) == (None, "")


def test_a_toolkit_in_a_container(stand_ins: Any) -> None:
    stand_ins.engine("docker")
    handover = decide_handover(Compile(toolkit="container"))
    assert handover.toolkit is not None and handover.toolkit.kind == "container"


def test_no_toolkit_is_missing_and_says_what_to_do(stand_ins: Any) -> None:
    handover = decide_handover(Compile())
    assert handover.delegate == "npu" and handover.toolkit is None
    assert handover.missing is not None
    for place in ("synap_convert: not on the PATH", "docker: not on the PATH", "podman"):
        assert place in handover.missing.what
    assert "docker pull ghcr.io/synaptics-synap/toolkit:3.2.0" in handover.missing.hint
    assert "--set compile.delegate=cpu" in handover.missing.hint
    assert handover.fallback == ""


def test_no_bundle_for_the_cpu_is_advised_where_none_can_be(stand_ins: Any) -> None:
    missing = decide_handover(Compile(), comes_as_integers=True).missing
    assert missing is not None
    assert missing.hint.endswith("; or measure it without the toolkit: --until lower")
    assert "compile.delegate" not in missing.hint


@pytest.mark.parametrize("toolkit", ["auto", "native", "container", "none"])
def test_falling_back_says_so(stand_ins: Any, toolkit: Any) -> None:
    handover = decide_handover(Compile(toolkit=toolkit, if_toolkit_missing="cpu"))
    assert (handover.delegate, handover.form, handover.missing) == ("cpu", "qdq-onnx", None)
    assert handover.fallback.startswith("no SyNAP toolkit (")


def test_no_fallback_where_there_is_a_toolkit(stand_ins: Any) -> None:
    stand_ins.converter()
    handover = decide_handover(Compile(if_toolkit_missing="cpu"))
    assert (handover.delegate, handover.fallback) == ("npu", "")


def test_what_is_not_looked_for_is_not_found(stand_ins: Any) -> None:
    stand_ins.converter()
    assert decide_handover(Compile(toolkit="none")).missing is not None
    assert decide_handover(Compile(toolkit="container")).missing is not None


def test_the_notice_is_the_contracts() -> None:
    assert CPU_NOTICE == "CPU bundle, not an NPU build"
