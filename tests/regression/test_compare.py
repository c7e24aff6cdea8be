"""What counts as worse, and by how much."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.regression.baseline import MachineMark, StageMark
from pipeline.regression.compare import _accuracy
from pipeline.regression.likeness import cpu_kind
from pipeline.regression.result import GateResult, Limits

OTHER = "b" * 64


def failures(result: GateResult) -> set[tuple[str, str]]:
    return {(row.stage, row.quantity) for row in result.rows if row.verdict == "FAIL"}


def test_a_run_is_no_worse_than_itself(desk: Any) -> None:
    result = desk.gate()
    assert (result.verdict, result.exit_code) == ("PASS", 0)
    stages = [stage["name"] for stage in desk.original["stages"] if stage["artifact"]]
    assert stages[0] == "weights" and {"export", "quantize", "compile"} <= {*stages}
    assert list(dict.fromkeys(row.stage for row in result.rows)) == stages[1:]
    assert {row.quantity for row in result.rows if row.stage == "compile"} == {
        "top1", "top1_drop", "bytes", "seconds",
    }  # fmt: skip
    assert all(row.verdict == "PASS" for row in result.rows)


def test_one_image_less_by_the_same_file(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    image = 1 / desk.original["data"]["evaluation"]["images"]
    assert failures(desk.gate(in_stage("quantize", top1=lambda v: v - image))) == {
        ("quantize", "top1")
    }
    assert failures(desk.gate(in_stage("quantize", top1_drop=lambda v: v + image))) == {
        ("quantize", "top1_drop")
    }
    allowed = Limits(max_top1_loss=0.2, max_drop_rise=0.2)
    assert desk.gate(in_stage("quantize", top1=lambda v: v - image), limits=allowed).exit_code == 1


def test_another_file_has_a_tolerance(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    image = 1 / desk.original["data"]["evaluation"]["images"]
    lost = in_stage(
        "quantize", top1=lambda v: v - image, top1_drop=lambda v: v + image, sha256=OTHER
    )
    exact = Limits(max_top1_loss=image, max_drop_rise=image)
    assert failures(desk.gate(lost, limits=exact)) == set()
    below = Limits(max_top1_loss=0.999 * image, max_drop_rise=image)
    assert failures(desk.gate(lost, limits=below)) == {("quantize", "top1")}
    assert failures(desk.gate(lost, limits=Limits(max_top1_loss=image))) == {
        ("quantize", "top1_drop")
    }


def test_the_float_model_and_the_gap_are_held_separately(desk: Any, changes: Any) -> None:
    in_stage, both = changes
    lost_float = in_stage("export", top1=lambda v: v - 0.1, sha256=OTHER)
    smaller_gap = in_stage("quantize", top1_drop=lambda v: v - 0.1)
    assert failures(desk.gate(both(lost_float, smaller_gap))) == {("export", "top1")}
    # Of the gap both files have to be the same for the exact rule.
    hidden = both(
        in_stage("export", top1=lambda v: v - 0.004, sha256=OTHER),
        in_stage("quantize", top1_drop=lambda v: v + 0.004),
    )
    assert failures(desk.gate(hidden)) == set()
    wider = both(hidden, in_stage("quantize", top1_drop=lambda v: v + 0.004))
    assert failures(desk.gate(wider)) == {("quantize", "top1_drop")}


def test_a_gain_never_fails(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    for digest in (OTHER, lambda same: same):
        gained = in_stage("quantize", top1=1.0, top1_drop=-0.5, bytes=1, seconds=0.0, sha256=digest)
        result = desk.gate(gained)
        assert result.verdict == "PASS"
    row = next(r for r in result.rows if (r.stage, r.quantity) == ("quantize", "top1_drop"))
    assert row.reason.startswith("smaller gap by")


def test_size_by_ratio(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    grown = in_stage("compile", bytes=lambda v: 12 * v // 10, sha256=OTHER)
    assert failures(desk.gate(grown)) == {("compile", "bytes")}
    assert failures(desk.gate(grown, limits=Limits(max_size_ratio=1.3))) == set()
    assert failures(desk.gate(in_stage("compile", bytes=lambda v: 105 * v // 100))) == set()


def test_time_by_ratio_on_the_same_machine(desk: Any, changes: Any) -> None:
    in_stage, both = changes
    longer = in_stage("quantize", seconds=lambda v: 2.5 * v + 2)
    assert failures(desk.gate(longer)) == {("quantize", "seconds")}
    assert failures(desk.gate(longer, limits=Limits(max_time_ratio=1000))) == set()
    # Whatever the ratio, less than a second is none.
    assert failures(desk.gate(in_stage("export", seconds=lambda v: v + 0.99))) == set()

    def more_threads(report: Any) -> None:
        report["environment"]["threads"] += 1

    result = desk.gate(both(longer, more_threads))
    assert failures(result) == set()
    assert {row.verdict for row in result.rows if row.quantity == "seconds"} == {"SKIPPED"}


def test_latency_on_a_board(desk: Any, changes: Any) -> None:
    in_stage, _ = changes

    def after(milliseconds: float | None) -> Any:
        def change(report: Any) -> None:
            in_stage("compile", evidence="board")(report)
            report["stages"][-1]["check"]["latency_ms"] = milliseconds
            # The board's time is the board's, wherever it was asked for.
            report["environment"]["threads"] += 1

        return change

    assert not [row for row in desk.gate().rows if row.quantity == "latency_ms"]
    desk.gate(after(10.0), accept_it=True)
    assert failures(desk.gate(after(10.9))) == set()
    assert failures(desk.gate(after(11.1))) == {("compile", "latency_ms")}
    assert failures(desk.gate(after(11.1), limits=Limits(max_latency_ratio=1.2))) == set()
    assert failures(desk.gate(after(None))) == {("compile", "latency_ms")}
    path = desk.folder / "table.md"
    desk.gate(after(12.0), markdown=path)
    assert "| stage | top-1 | drop | size | time | latency |" in path.read_text()
    assert "❌ **12.00 ms** (was 10.00 ms) |" in path.read_text()


def test_weights_are_not_held(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    changed = in_stage("weights", seconds=1e6, bytes=10**12, top1=0.0, sha256=OTHER)
    assert desk.gate(changed).verdict == "PASS"


def test_a_stage_that_is_missing(desk: Any) -> None:
    def without(name: str) -> Any:
        def change(report: Any) -> None:
            report["stages"] = [stage for stage in report["stages"] if stage["name"] != name]

        return change

    assert failures(desk.gate(without("compile"))) == {("compile", "stage")}
    left_out = desk.gate(without("equalize"))
    assert failures(left_out) == set(), "that is the recipe's choice"
    assert [row.stage for row in left_out.rows if row.verdict == "SKIPPED"] == ["equalize"]

    def skipped(report: Any) -> None:
        (stage,) = (stage for stage in report["stages"] if stage["name"] == "lower")
        stage["artifact"] = None
        stage["check"] |= {"images": 0, "top1": None, "top1_drop": None, "reason": "no such form"}

    result = desk.gate(skipped)
    assert failures(result) == {("lower", "stage")}
    assert "was skipped: no such form" in [row.reason for row in result.rows]

    def failed(report: Any) -> None:
        without("compile")(report)
        report |= {"failure": "compile: the toolkit failed\n  look", "compile": None}

    result = desk.gate(failed)
    assert [row.reason for row in result.rows if row.verdict == "FAIL"] == [
        "the run failed before it: compile: the toolkit failed"
    ]


def test_a_stage_that_is_new_is_no_regression(desk: Any, changes: Any) -> None:
    def more(report: Any) -> None:
        report["stages"].append({**report["stages"][-1], "name": "further"})

    result = desk.gate(more)
    assert result.verdict == "PASS"
    assert [(row.stage, row.baseline) for row in result.rows if row.verdict == "SKIPPED"] == [
        ("further", None)
    ]


def test_a_number_that_is_gone(desk: Any, changes: Any) -> None:
    in_stage, _ = changes
    gone = in_stage("compile", images=0, top1=None, top1_drop=None)
    assert failures(desk.gate(gone)) == {("compile", "top1"), ("compile", "top1_drop")}


@given(
    images=st.integers(1, 50_000),
    before=st.floats(0, 1),
    after=st.floats(0, 1),
    tolerance=st.floats(0, 0.2),
    same=st.booleans(),
)
def test_losses_fail_exactly_beyond_the_limit(
    images: int, before: float, after: float, tolerance: float, same: bool
) -> None:
    """In whole images, whose number can be compared without rounding."""
    right = round(before * images), round(after * images)
    allowed = 0 if same else int(tolerance * images)
    values = right[0] / images, right[1] / images
    limit = allowed / images
    row = _accuracy("quantize", "top1", values, values[0] - values[1], images, same, limit)
    assert (row.verdict == "FAIL") == (right[0] - right[1] > allowed)


@pytest.mark.parametrize(
    ("machine", "features", "kind"),
    [
        ("x86_64", ("avx2", "avx512f"), "x86 without VNNI"),
        ("x86_64", ("avx2", "avx_vnni"), "x86 with VNNI"),
        ("AMD64", ("avx512_vnni",), "x86 with VNNI"),
        ("x86_64", (), "x86 of unknown features"),
        ("aarch64", ("asimddp", "i8mm"), "aarch64"),
        ("arm64", (), "aarch64"),
    ],
)
def test_kinds_of_cpus(machine: str, features: Any, kind: str) -> None:
    assert cpu_kind(MachineMark(machine=machine, cpu_features=features, threads=1, versions={})) == kind  # fmt: skip


def test_the_exact_rule_is_for_one_kind_of_cpu(desk: Any, changes: Any) -> None:
    in_stage, both = changes

    def other_cpu(report: Any) -> None:
        report["environment"] |= {"machine": "aarch64", "cpu_features": ["asimddp"]}

    lost = in_stage("quantize", top1=lambda v: v - 0.004)
    assert desk.gate(lost).verdict == "FAIL"
    result = desk.gate(both(lost, other_cpu), any_cpu=True)
    assert result.verdict == "PASS"
    row = next(r for r in result.rows if (r.stage, r.quantity) == ("quantize", "top1"))
    assert row.limit == 0.005


def test_marks_are_read_strictly() -> None:
    with pytest.raises(ValueError, match="sha256"):
        StageMark(
            sha256="x", bytes=1, seconds=1.0, images=1, top1=1.0, top1_drop=0.0,
            evidence="measured", latency_ms=None,
        )  # fmt: skip
