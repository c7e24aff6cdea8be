"""Evaluation images in parts: how they are cut, and a run that stops at a certain verdict."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import command
from pipeline.check.gate import Paired, drop_interval
from pipeline.check.sequential import anytime_interval
from pipeline.evaluation import looks
from pipeline.evaluation.looks import FIRST, GROWTH, STEP, Looks, Outputs
from pipeline.job import make_job


class Items(tuple[int, ...]):
    """Samples that are only numbers."""

    def part(self, start: int, stop: int) -> "Items":
        return Items(self[start:stop])


def looks_at(images: int, *, auto: bool = True) -> Looks:
    samples: Any = Items(range(images))
    return Looks(samples, auto)


@given(st.integers(1, 60_000))
def test_parts_follow_each_other_and_are_all(images: int) -> None:
    cut = looks_at(images)
    parts: list[Any] = [cut.part(index) for index in range(len(cut.ends))]
    assert [item for part in parts for item in part] == list(range(images))
    assert all(end % STEP == 0 for end in cut.ends[:-1])
    assert len(parts[0]) == min(FIRST, images)
    for end, following in zip(cut.ends, cut.ends[1:], strict=False):
        assert following <= end * GROWTH + STEP
    for count in range(1, len(cut.ends) + 1):
        first: Any = cut.first(count)
        assert list(first) == [item for part in parts[:count] for item in part]


def test_a_fixed_number_is_one_part() -> None:
    assert looks_at(5000, auto=False).ends == (5000,)
    assert looks_at(5000, auto=False).parts_with(3000) == 1


@given(st.integers(1, 20_000), st.integers(1, 30_000))
def test_the_fewest_parts_with_so_many_images(images: int, wanted: int) -> None:
    cut = looks_at(images)
    parts = cut.parts_with(wanted)
    assert cut.ends[parts - 1] >= min(wanted, images)
    assert parts == 1 or cut.ends[parts - 2] < wanted


def test_outputs_are_made_once_and_no_further_than_asked() -> None:
    made = []

    def make(part: Any) -> Any:
        made.append(len(part))
        return SimpleNamespace(images=len(part))

    outputs = Outputs(looks_at(1000), make)
    assert made == []
    (first,) = outputs.first(1)
    assert made == [FIRST]
    three = outputs.first(3)
    assert three[0] is first and made == [entry.images for entry in three]  # type: ignore[attr-defined]
    assert outputs.first(2) == three[:2] and len(made) == 3


@pytest.fixture
def sequential(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """A run with `images: auto` whose first part is small; its checks by stage."""
    monkeypatch.setattr(looks, "FIRST", 16)

    def run(*overrides: str, until: str = "quantize", of: str = "check") -> dict[str, Any]:
        words = ["data.evaluation.images=auto", *overrides]
        job = make_job(tiny / "tiny.yaml", "sl1680", until, words, None, None, tmp_path, 1)
        command.run(job, strict=False, as_json=True)
        report = json.loads(capsys.readouterr().out)
        return {stage["name"]: stage[of] for stage in report["stages"]}

    return run


def test_a_run_stops_when_its_verdict_is_certain(sequential: Any) -> None:
    checks = sequential("checks.quantize.max_top1_drop=0.2", "checks.quantize.confidence=0.9")
    quantize = checks["quantize"]
    assert quantize["verdict"] == "PASS"
    assert 16 <= quantize["images"] < 60
    # Nothing is demanded of these beyond what one part shows.
    assert checks["export"]["images"] == checks["equalize"]["images"] == 16
    assert "as they came" in quantize["reason"]
    assert quantize["confidence_interval"][1] <= 0.2


def test_an_undecided_run_looks_at_everything(sequential: Any) -> None:
    checks = sequential("checks.quantize.max_top1_drop=0.001")
    assert (checks["quantize"]["verdict"], checks["quantize"]["images"]) == ("UNDECIDED", 60)
    assert "would decide" in checks["quantize"]["reason"]


def test_a_top1_near_its_limit_is_not_judged_on_the_first_part(sequential: Any) -> None:
    near = sequential("checks.weights.min_top1=0.8")["weights"]
    far = sequential("checks.weights.min_top1=0.1")["weights"]
    assert near["images"] == 60
    assert (far["images"], far["verdict"]) == (16, "PASS")


def test_a_spoiled_model_is_found_early(sequential: Any) -> None:
    # Ranges that hold half of the values clip away what tells classes apart.
    checks = sequential(
        "quantize.ranges={rule: percentile, percentile: 51.0}", "checks.quantize.max_top1_drop=0.02",
        "checks.quantize.confidence=0.9", "quantize.bias_correction=none", "equalize=null",
    )  # fmt: skip
    assert checks["quantize"]["verdict"] == "FAIL"
    assert checks["quantize"]["images"] < 60


def test_the_interval_is_the_one_that_holds_at_every_look(sequential: Any) -> None:
    check = sequential("checks.quantize.max_top1_drop=0.001")["quantize"]
    low, high = check["confidence_interval"]
    lost = round(check["images"] * check["top1_drop"])
    if lost >= 0:
        least = anytime_interval(Paired(check["images"], lost, 0), 0.9)
        assert high >= least[1] - 1e-9
    assert low < check["top1_drop"] < high


def test_the_boards_view_has_such_an_interval_too(sequential: Any) -> None:
    """Its images are those of the verdict, which stopped where the drop was certain."""
    gap = sequential(until="compile", of="details")["compile"]["device_view"]
    assert gap["anytime"] and gap["images"] < 60
    lost = round(gap["images"] * gap["gap"])
    least = Paired(gap["images"], max(lost, 0), max(-lost, 0))
    low, high = gap["confidence_interval"]
    # Images that change both ways would only make it wider.
    assert high - low >= 0.9 * (anytime_interval(least, 0.95)[1] - anytime_interval(least, 0.95)[0])
    narrow = drop_interval(least, 0.95)
    assert low < narrow[0] and narrow[1] < high
