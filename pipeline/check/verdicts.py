"""Verdicts on stored logits, under keys of their own: a changed threshold judges again without
computing again, and a run that changes nothing does not even load the logits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.check.result import Check, Evidence
from pipeline.errors import StageError
from pipeline.recipe import Thresholds
from pipeline.store import Entry, Store

if TYPE_CHECKING:
    from pipeline.data.samples import Samples

JUDGE_VERSION = 6

Entries = Sequence[Entry]
"""The logits of an artifact, in parts that follow each other."""


def judge_stored(
    store: Store,
    samples: "Samples",
    *,
    logits: Entries,
    before: Entries | None,
    reference: Entries | None,
    label_offset: int,
    thresholds: Thresholds,
    evidence: Evidence,
    file: str,
    latency_ms: float | None = None,
    anytime: bool = False,
) -> Check:
    """`judge` on entries of stored logits, whose arrays are in `file`, of the images in `samples`;
    `label_offset` is added to labels. `reference is logits` for the reference itself."""

    def digests(entries: Entries | None) -> list[str] | None:
        return None if entries is None else [entry.sha256(file) for entry in entries]

    fields = {
        "version": JUDGE_VERSION,
        "logits": digests(logits),
        "before": digests(before),
        "reference": digests(reference),
        "samples": samples.digest,
        "label_offset": label_offset,
        "thresholds": thresholds.model_dump(mode="json"),
        "evidence": evidence,
        "latency_ms": latency_ms,
        "anytime": anytime,
        "is_reference": reference is logits,
    }

    def build(folder: Path) -> Mapping[str, Any]:
        import numpy as np

        from pipeline.check.judge import judge

        def load(entries: Entries | None) -> Any:
            if entries is None:
                return None
            return np.concatenate(
                [np.load(entry.path(file), allow_pickle=False) for entry in entries]
            )

        ours, labels = load(logits), samples.labels() + label_offset
        if labels.max() >= ours.shape[1]:
            raise StageError(
                f"there are {ours.shape[1]} outputs, and labels moved by {label_offset} go up to "
                f"{labels.max()}",
                hint="model.label_offset: 1 is for models with a background class before the others",
            )
        check = judge(
            ours,
            labels,
            before=load(before),
            reference=ours if reference is logits else load(reference),
            thresholds=thresholds,
            evidence=evidence,
            latency_ms=latency_ms,
            anytime=anytime,
        )
        return {"check": check.to_json()}

    data = dict(store.get("verdicts", fields, build).about["check"])
    if data["confidence_interval"] is not None:
        data["confidence_interval"] = tuple(data["confidence_interval"])
    return Check(**data)
