"""Verdicts on stored logits, under keys of their own: a changed threshold judges again without
computing again, and a run that changes nothing does not even load the logits."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.check.result import Check, Evidence
from pipeline.recipe import Thresholds
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

JUDGE_VERSION = 3


def judge_stored(
    store: Store,
    samples: "Samples",
    *,
    logits: Entry,
    before: Entry | None,
    reference: Entry | None,
    label_offset: int,
    thresholds: Thresholds,
    evidence: Evidence,
    file: str,
    latency_ms: float | None = None,
) -> Check:
    """`judge` on entries of stored logits, whose arrays are in `file`; `label_offset` is added to labels."""

    def digest(entry: Entry | None) -> str | None:
        return None if entry is None else entry.sha256(file)

    fields = {
        "version": JUDGE_VERSION,
        "logits": digest(logits),
        "before": digest(before),
        "reference": digest(reference),
        "samples": samples.digest,
        "label_offset": label_offset,
        "thresholds": thresholds.model_dump(mode="json"),
        "evidence": evidence,
        "latency_ms": latency_ms,
    }

    def build(folder: Path) -> Mapping[str, Any]:
        import numpy as np

        from pipeline.check.judge import judge

        def load(entry: Entry | None) -> Any:
            return None if entry is None else np.load(entry.path(file), allow_pickle=False)

        ours = load(logits)
        check = judge(
            ours,
            samples.labels() + label_offset,
            before=load(before),
            reference=ours if reference is logits else load(reference),
            thresholds=thresholds,
            evidence=evidence,
            latency_ms=latency_ms,
        )
        return {"check": check.to_json()}

    data = dict(store.get("verdicts", fields, build).about["check"])
    if data["confidence_interval"] is not None:
        data["confidence_interval"] = tuple(data["confidence_interval"])
    return Check(**data)
