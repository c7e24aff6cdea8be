"""Checks: their numbers against values worked out by hand, and the verdict on them."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from pipeline.check.gate import Paired, drop_interval
from pipeline.check.judge import judge
from pipeline.check.result import Check, skipped
from pipeline.recipe import Thresholds

IMAGES = 1000


def logits_with(right: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Logits of 10 classes that are right on these images; label of image i is i modulo 10."""
    labels = np.arange(len(right)) % 10
    logits = np.zeros((len(right), 10), np.float32)
    logits[np.arange(len(right)), np.where(right, labels, (labels + 1) % 10)] = 1.0
    return logits


def first_right(count: int) -> NDArray[np.float32]:
    return logits_with(np.arange(IMAGES) < count)


def check_of(
    logits: NDArray[np.float32],
    before: NDArray[np.float32] | None = None,
    reference: NDArray[np.float32] | None = None,
    evidence: Any = "measured",
    **thresholds: Any,
) -> Check:
    return judge(
        logits, np.arange(len(logits)) % 10, before=before, reference=reference,
        thresholds=Thresholds(**thresholds), evidence=evidence,
    )  # fmt: skip


def test_the_numbers_of_a_check() -> None:
    reference = first_right(800)
    before = first_right(790)
    right = np.arange(IMAGES) < 780
    right[900:905] = True  # five that only the last stage has
    check = check_of(logits_with(right), before, reference, max_top1_drop=0.05)
    assert (check.images, check.top1, check.required) == (1000, 0.785, True)
    assert check.top1_drop == pytest.approx(0.015)
    assert check.step_drop == pytest.approx(0.005)
    assert check.agreement == pytest.approx(1 - 15 / 1000)
    assert check.max_logit_error == 1.0
    # 15 images differ in two logits by 1 each; the signal is one logit of 1 an image.
    assert check.sqnr_db == pytest.approx(10 * math.log10(1000 / 30))
    # 20 lost and 5 gained; that these are its bounds is tested with the interval itself.
    assert check.confidence_interval == drop_interval(Paired(1000, 20, 5), 0.95)
    assert (check.verdict, check.evidence) == ("PASS", "measured")
    assert check.reason == ("drop 1.50 points, between 0.72 and 2.42 at 95 %, limit 5.00")


def test_top_5() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(100, 10)).astype(np.float32)
    labels = np.arange(100) % 10
    order = np.argsort(-logits, axis=1)[:, :5]
    assert check_of(logits).top5 == float((order == labels[:, None]).any(1).mean())


def test_the_first_stage_has_nothing_to_be_compared_with() -> None:
    check = check_of(first_right(500), min_top1=0.5)
    assert (check.top1, check.verdict) == (0.5, "PASS")
    assert check.reason == "top-1 50.00 % is at least 50.00 %"
    nothing = (check.top1_drop, check.step_drop, check.agreement, check.sqnr_db)
    assert nothing == (None,) * 4
    assert check.max_logit_error is None and check.confidence_interval is None


def test_the_reference_itself() -> None:
    logits = first_right(500)
    check = check_of(logits, first_right(510), logits, max_logit_error=2.0)
    assert (check.top1_drop, check.confidence_interval) == (0.0, None)
    assert check.step_drop == pytest.approx(0.01)
    assert (check.verdict, check.reason) == ("PASS", "largest logit error 1 is within 2")


@pytest.mark.parametrize(
    ("thresholds", "verdict", "reason"),
    [
        ({}, "SKIPPED", "the recipe sets no threshold; the numbers are only reported"),
        ({"min_top1": 0.7801}, "FAIL", "top-1 78.00 % is below 78.01 %"),
        ({"max_top1_drop": 0.01}, "FAIL", "drop 2.00 points, between 1.39 and 2.87 at 95 %, limit 1.00"),
        ({"max_top1_drop": 0.0199}, "UNDECIDED", "limit 1.99: 1000 images do not suffice, about "),
        ({"max_top1_drop": 0.02}, "UNDECIDED", "no number of images would decide"),
        ({"max_top1_drop": 0.03}, "PASS", "limit 3.00"),
        ({"max_logit_error": 0.5}, "FAIL", "largest logit error 1 is beyond 0.5"),
        ({"max_top1_drop": 0.03, "min_top1": 0.9}, "FAIL", "top-1 78.00 % is below 90.00 %"),
        ({"max_top1_drop": 0.0199, "min_top1": 0.5}, "UNDECIDED", "1000 images do not suffice"),
        ({"max_top1_drop": 0.0199, "max_logit_error": 0.5}, "FAIL", "largest logit error 1 is beyond 0.5"),
        ({"max_top1_drop": 0.01, "max_logit_error": 0.5}, "FAIL", "beyond 0.5; drop 2.00 points"),
    ],
)  # fmt: skip
def test_the_worst_finding_is_the_verdict(thresholds: Any, verdict: str, reason: str) -> None:
    check = check_of(first_right(780), first_right(800), first_right(800), **thresholds)
    assert (check.verdict, check.required) == (verdict, bool(thresholds))
    assert reason in check.reason


@pytest.mark.parametrize(
    ("thresholds", "verdict", "reason"),
    [
        ({"max_top1_drop": 0.03}, "SKIPPED", "only a stand-in was run; the recipe does not say `accept: predicted`"),
        ({"max_top1_drop": 0.03, "accept": "predicted"}, "PASS", "limit 3.00"),
        ({"max_top1_drop": 0.01}, "FAIL", "drop 2.00 points"),
        ({"max_top1_drop": 0.01, "accept": "predicted"}, "FAIL", "drop 2.00 points"),
        ({"max_top1_drop": 0.0199}, "SKIPPED", "only a stand-in"),
        ({"max_top1_drop": 0.0199, "accept": "predicted"}, "UNDECIDED", "do not suffice"),
        ({"accept": "predicted"}, "SKIPPED", "the recipe sets no threshold"),
    ],
)  # fmt: skip
def test_a_prediction_is_no_measurement(thresholds: Any, verdict: str, reason: str) -> None:
    logits = first_right(780), first_right(800), first_right(800)
    check = check_of(*logits, evidence="predicted", **thresholds)
    assert (check.verdict, check.evidence) == (verdict, "predicted")
    assert reason in check.reason


def test_what_there_is_nothing_for_is_skipped_not_passed() -> None:
    check = check_of(first_right(900), max_logit_error=1.0)
    assert (check.verdict, check.required) == ("SKIPPED", True)
    assert check.reason == "there is no stage before to compare logits with"
    check = check_of(first_right(900), first_right(900), max_top1_drop=0.1)
    assert (check.verdict, check.reason) == (
        "SKIPPED",
        "there is no float reference to compare with",
    )


def test_a_gain_is_a_negative_drop() -> None:
    check = check_of(first_right(820), first_right(800), first_right(800), max_top1_drop=0.0)
    assert check.top1_drop == pytest.approx(-0.02)
    assert check.step_drop == pytest.approx(-0.02)
    assert check.verdict == "PASS"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_model_fails(value: float) -> None:
    good = first_right(800)
    broken = np.full_like(good, value)
    check = check_of(broken, good, good, max_logit_error=1.0, max_top1_drop=0.1, min_top1=0.1)
    assert (check.top1, check.top5, check.agreement) == (0.0, 0.0, 0.0)
    assert check.top1_drop == pytest.approx(0.8)
    assert (check.sqnr_db, check.max_logit_error) == (None, None)
    assert check.verdict == "FAIL"
    for finding in (
        "top-1 0.00 %",
        f"largest logit error {abs(value):.2g} is beyond",
        "drop 80.00",
    ):
        assert finding in check.reason


_LOGITS = arrays.arrays(
    np.float32, (7, 4), elements=st.floats(width=32) | st.sampled_from([0.0, 1.0, math.nan])
)


@settings(max_examples=80, deadline=None)
@given(_LOGITS, _LOGITS, _LOGITS)
@pytest.mark.filterwarnings("error")
def test_any_logits_give_a_check_that_json_can_say(one: Any, two: Any, three: Any) -> None:
    labels = np.arange(7) % 4
    check = judge(
        one, labels, before=two, reference=three,
        thresholds=Thresholds(max_top1_drop=0.1, max_logit_error=1.0, min_top1=0.1),
        evidence="measured",
    )  # fmt: skip
    assert json.loads(json.dumps(check.to_json(), allow_nan=False))["verdict"] == check.verdict
    if not np.isfinite(one).all():
        assert check.verdict == "FAIL"


def test_skipped() -> None:
    check = skipped("no toolkit", Thresholds(max_top1_drop=0.1), "predicted")
    assert (check.verdict, check.required, check.reason) == ("SKIPPED", True, "no toolkit")
    assert (check.images, check.top1, check.confidence_interval) == (0, None, None)


@pytest.mark.parametrize(
    ("right", "said"), [(800, False), (810, False), (825, False), (850, True), (1000, True)]
)
def test_a_gain_beyond_the_limit_is_a_question_to_the_reference(right: int, said: bool) -> None:
    """With a limit of two points, a gain is remarkable where a loss as large would fail."""
    gained = check_of(first_right(right), first_right(800), first_right(800), max_top1_drop=0.02)
    assert gained.verdict == "PASS"
    assert ("check the float reference" in gained.reason) == said
    lost = check_of(first_right(800), first_right(right), first_right(right), max_top1_drop=0.02)
    assert (lost.verdict == "FAIL") == said
    assert "check the float reference" not in lost.reason


def test_a_question_to_the_reference_is_asked_beside_any_verdict() -> None:
    logits = first_right(900), first_right(800), first_right(800)
    check = check_of(*logits, evidence="predicted", max_top1_drop=0.02)
    assert check.verdict == "SKIPPED"
    assert check.reason.startswith("only a stand-in") and "check the float" in check.reason
    assert "check the float" not in check_of(*logits).reason
