"""The heads of compiled models; nothing here was made by the real compiler."""

from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.inspect.npu_model import npu_contents, target_hints


def test_what_the_head_says(lab: Any) -> None:
    contents = npu_contents(lab.npu_model(0xC2, (1, 3, 2)), "m")
    facts = contents.facts
    assert (facts["network"], facts["hardware_type"]) == ("net", 0xC2)
    assert (facts["inputs"], facts["outputs"], facts["memory_areas"]) == (1, 3, 2)
    assert (facts["code_bytes"], facts["secure"]) == (4, False)
    assert "not verified" in str(facts["hardware_note"])
    assert contents.quantization is None


def test_hints_are_no_more_than_hints(lab: Any) -> None:
    models = [npu_contents(lab.npu_model(value), "m") for value in (0xC1, 0xC2, 0xC1, 0x99)]
    assert target_hints(models) == (
        "hardware_type 0x99: unknown",
        "hardware_type 0xc1: VS680 (sl1680) in an old driver, not verified",
        "hardware_type 0xc2: VS640 (sl1640) in an old driver, not verified",
    )
    assert target_hints([]) == ()


def test_names_do_nothing_to_a_terminal(lab: Any) -> None:
    content = lab.npu_model().replace(b"net\0\0", b"\x1b[2Jn")
    assert npu_contents(content, "m").facts["network"] == "\\x1b[2Jn"


def test_what_is_none() -> None:
    with pytest.raises(StageError, match="m: not an NPU model"):
        npu_contents(b"\x08\x07", "m")
