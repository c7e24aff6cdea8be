"""The targets' files and their loader."""

import pytest

from pipeline.errors import UsageError
from pipeline.targets import load_target, target_names


def test_the_yaml_files_are_the_targets() -> None:
    assert target_names() == ("sl1640", "sl1680")
    assert [load_target(name).name for name in target_names()] == ["sl1640", "sl1680"]


def test_facts_of_both_chips() -> None:
    large, small = load_target("sl1680"), load_target("sl1640")
    assert (large.toolkit_name, large.alias, large.nn_cores) == ("SL1680", "VS680", 22)
    assert large.npu_build_target == "VIP9000NANOQI_PLUS_PID0XC1"
    assert (small.toolkit_name, small.alias, small.nn_cores) == ("SL1640", "VS640", 4)
    assert small.npu_build_target == "VIP9000NANOSI_PID0XC2"
    assert (large.ddr_limit, small.ddr_limit) == (22, 10)
    assert (large.published[0].npu_ms, large.published[0].cpu_ms) == (19.59, 500.54)
    assert (small.published[0].npu_ms, small.published[0].cpu_ms) == (53.82, 255.94)


@pytest.mark.parametrize("name", target_names())
def test_every_published_time_names_its_source(name: str) -> None:
    assert all(times.source for times in load_target(name).published)


def test_case_does_not_matter() -> None:
    assert load_target("SL1680") == load_target("sl1680")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("sl168", "sl1680"), ("vs640", "sl1640"), ("SL1641", "sl1640")]
)
def test_an_unknown_target_gets_a_suggestion(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown target '{wrong}'") as caught:
        load_target(wrong)
    assert f"did you mean {meant!r}?" in caught.value.hint
    assert "targets: sl1640, sl1680" in caught.value.hint


@pytest.mark.parametrize("wrong", ["", "raspberry", "../sl1680", "sl1680.yaml\0"])
def test_a_name_that_is_like_none_lists_all(wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_target(wrong)
    assert "targets: sl1640, sl1680" in caught.value.hint


def test_a_target_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_target("sl1680").nn_cores = 3
