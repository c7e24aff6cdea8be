"""The outcome of a check, as a value."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pipeline.recipe import Thresholds

Verdict = Literal["PASS", "FAIL", "UNDECIDED", "SKIPPED"]
Evidence = Literal["measured", "predicted", "board"]


@dataclass(frozen=True)
class Check:
    """Numbers are fractions; drops are positive where accuracy was lost.

    `top1_drop`, `flip_rate`, `kl_divergence` and `reference_sqnr_db` are against the float
    reference, `step_drop`, `agreement`, `sqnr_db` and `max_logit_error` against the stage before;
    None means there was nothing to compare with.
    """

    images: int
    top1: float | None
    top5: float | None
    top1_drop: float | None
    step_drop: float | None
    agreement: float | None
    sqnr_db: float | None
    max_logit_error: float | None
    confidence_interval: tuple[float, float] | None
    required: bool
    evidence: Evidence
    verdict: Verdict
    reason: str
    latency_ms: float | None = None
    """Median inference time on a board."""
    published: Verdict | None = None
    """How the top-1 stands to the one that the model's makers published, where there is one."""
    flip_rate: float | None = None
    kl_divergence: float | None = None
    """In nats."""
    reference_sqnr_db: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def skipped(reason: str, thresholds: Thresholds, evidence: Evidence) -> Check:
    """The check of something that could not be run."""
    return Check(
        0, None, None, None, None, None, None, None, None,
        thresholds.required, evidence, "SKIPPED", reason,
    )  # fmt: skip


def with_faults(check: Check, faults: Sequence[str]) -> Check:
    """The check of a result that its own stage found wrong: it fails, whatever was demanded."""
    if not faults:
        return check
    return replace(check, required=True, verdict="FAIL", reason="; ".join(faults))
