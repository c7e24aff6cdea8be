"""One check: what a stage's artifact does on the evaluation images, and the verdict on it."""

import math

from pipeline.check import gate, sequential
from pipeline.check.gate import Paired, decide
from pipeline.check.metrics import (
    Labels,
    Logits,
    agreement,
    flip_rate,
    in_top,
    kl_divergence,
    max_abs_error,
    sqnr_db,
)
from pipeline.check.result import Check, Evidence, Verdict
from pipeline.quantities import confidence, percent
from pipeline.recipe import Thresholds

TOO_GOOD = (
    "the quantized model is better than the float one by more than chance and the limit explain: "
    "check the float reference, which may lack an activation"
)


def judge(
    logits: Logits,
    labels: Labels,
    *,
    before: Logits | None,
    reference: Logits | None,
    thresholds: Thresholds,
    evidence: Evidence,
    latency_ms: float | None = None,
    anytime: bool = False,
) -> Check:
    """Compare `[N, C]` logits with the stage before and the float reference.

    Either is None where there is no such yet; `reference is logits` for the reference itself.
    `latency_ms` is the median inference time, where a board ran it. `anytime` says that the number
    of images was not fixed beforehand, so that the interval has to hold at every number.
    """
    correct = in_top(logits, labels, 1)
    paired = None
    interval = None
    if reference is not None and reference is not logits:
        correct_reference = in_top(reference, labels, 1)
        paired = Paired(
            images=len(labels),
            lost=int((correct_reference & ~correct).sum()),
            gained=int((correct & ~correct_reference).sum()),
        )
        drop_interval = sequential.anytime_interval if anytime else gate.drop_interval
        interval = drop_interval(paired, thresholds.confidence)
    error = None if before is None else max_abs_error(logits, before)
    top1 = float(correct.mean())
    ratio = None if before is None else sqnr_db(logits, before)
    against = None if paired is None else reference
    verdict, reason = _verdict(
        top1, paired, interval, error, latency_ms, thresholds, evidence, anytime
    )
    return Check(
        images=len(labels),
        top1=top1,
        top5=float(in_top(logits, labels, 5).mean()),
        top1_drop=_drop(paired, is_reference=reference is logits),
        step_drop=None if before is None else float(in_top(before, labels, 1).mean()) - top1,
        agreement=None if before is None else agreement(logits, before),
        # Infinite for equal logits, whose error of 0 says so, too.
        sqnr_db=_finite(ratio),
        max_logit_error=_finite(error),
        confidence_interval=interval,
        required=thresholds.required,
        evidence=evidence,
        verdict=verdict,
        reason=reason,
        latency_ms=latency_ms,
        flip_rate=None if against is None else flip_rate(logits, against),
        kl_divergence=None if against is None else _finite(kl_divergence(logits, against)),
        reference_sqnr_db=None if against is None else _finite(sqnr_db(logits, against)),
    )


def _finite(number: float | None) -> float | None:
    """JSON has no NaN and no infinity; the reason of the verdict names them."""
    return number if number is not None and math.isfinite(number) else None


def _drop(paired: Paired | None, *, is_reference: bool) -> float | None:
    """The reference has lost nothing against itself; before it there is nothing to lose against."""
    if is_reference:
        return 0.0
    return None if paired is None else paired.drop


def _verdict(
    top1: float,
    paired: Paired | None,
    interval: tuple[float, float] | None,
    error: float | None,
    latency_ms: float | None,
    thresholds: Thresholds,
    evidence: Evidence,
    anytime: bool,
) -> tuple[Verdict, str]:
    """The worst of what each threshold says, with all their reasons."""
    findings: list[tuple[Verdict, str]] = []
    if thresholds.min_top1 is not None:
        held = top1 >= thresholds.min_top1
        findings.append(
            (
                "PASS" if held else "FAIL",
                f"top-1 {percent(top1)} is {'at least' if held else 'below'} "
                f"{percent(thresholds.min_top1)}",
            )
        )
    if thresholds.max_logit_error is not None:
        findings.append(_judge_error(error, thresholds.max_logit_error))
    if thresholds.max_latency_ms is not None:
        findings.append(_judge_latency(latency_ms, thresholds.max_latency_ms))
    if thresholds.max_top1_drop is not None:
        findings.append(_judge_drop(paired, interval, thresholds, anytime))
    if not findings:
        return "SKIPPED", "the recipe sets no threshold; the numbers are only reported"
    if evidence == "predicted" and thresholds.accept != "predicted":
        findings.append(
            ("SKIPPED", "only a stand-in was run; the recipe does not say `accept: predicted`")
        )
    order: dict[Verdict, int] = {"FAIL": 0, "SKIPPED": 1, "UNDECIDED": 2, "PASS": 3}
    worst = min((verdict for verdict, _ in findings), key=order.__getitem__)
    reasons = [reason for verdict, reason in findings if verdict == worst]
    return worst, "; ".join([*reasons, *_caution(interval, thresholds.max_top1_drop)])


def _caution(interval: tuple[float, float] | None, limit: float | None) -> list[str]:
    """What is to be said of a gain as large as a loss that would fail. It never fails a check: a
    better model is what was asked for, but quantization does not make one."""
    return [TOO_GOOD] if interval and limit is not None and interval[1] < -limit else []


def _judge_error(error: float | None, limit: float) -> tuple[Verdict, str]:
    if error is None:
        return "SKIPPED", "there is no stage before to compare logits with"
    held = error <= limit  # false for NaN
    return (
        "PASS" if held else "FAIL",
        f"largest logit error {error:.2g} is {'within' if held else 'beyond'} {limit:g}",
    )


def _judge_latency(latency_ms: float | None, limit: float) -> tuple[Verdict, str]:
    if latency_ms is None:
        return (
            "SKIPPED",
            "no board of this target measured the latency; the recipe's `device` names one",
        )
    held = latency_ms <= limit
    return (
        "PASS" if held else "FAIL",
        f"median latency {latency_ms:.2f} ms is {'within' if held else 'beyond'} {limit:g}",
    )


def _judge_drop(
    paired: Paired | None,
    interval: tuple[float, float] | None,
    thresholds: Thresholds,
    anytime: bool,
) -> tuple[Verdict, str]:
    limit = thresholds.max_top1_drop
    if paired is None or interval is None or limit is None:
        return "SKIPPED", "there is no float reference to compare with"
    verdict = decide(interval, limit)
    statement = (
        f"drop {_points(paired.drop)} points, between {_points(interval[0])} and "
        f"{_points(interval[1])} at {confidence(thresholds.confidence)}, limit {_points(limit)}"
    )
    if anytime:
        statement += f", on {paired.images} images as they came"
    if verdict == "UNDECIDED":
        images_needed = sequential.images_needed if anytime else gate.images_needed
        needed = images_needed(paired, limit, thresholds.confidence)
        if needed is not None:
            more = f"about {needed} images would decide"
        elif anytime:
            more = "and of so few it cannot be told how many would"
        else:
            more = "no number of images would decide"
        statement += f": {paired.images} images do not suffice, {more}"
    return verdict, statement


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
